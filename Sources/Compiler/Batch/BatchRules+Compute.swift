import Models

extension BatchRules {
  static let windows = rules([
    (
      dataOnFirstAxis,
      [
        "AveragePool", "BatchNormalization", "Conv", "ConvInteger", "ConvTranspose",
        "DepthToSpace", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool",
        "GroupNormalization", "InstanceNormalization", "LRN", "LpPool", "MaxPool", "QLinearConv",
        "SpaceToDepth",
      ]
    ),
    (resize, ["Resize", "Upsample"]),
    (allOnFirstAxis, ["GridSample", "Attention", "RotaryEmbedding"]),
  ])

  static let linear = rules([
    (gemm, ["Gemm"]), (matMul, ["MatMul", "MatMulInteger"]), (quantizedMatMul, ["QLinearMatMul"]),
    (einsum, ["Einsum"]), (recurrence, ["LSTM", "GRU", "RNN"]),
  ])

  /// Images, one after the other on the first axis, with weights that are the same for all.
  static func dataOnFirstAxis(_ facts: BatchFacts) throws(BatchRefusal) -> [BatchState] {
    guard facts.axis(0) == 0 else {
      throw facts.mixed("has samples on an axis other than the first")
    }
    guard facts.areConstant(from: 1) else {
      throw facts.mixed("has weights that differ between samples")
    }
    guard facts.node.int("training_mode", default: 0) == 0 else {
      throw facts.mixed("normalises by the mean of the whole batch")
    }
    // Indices of MaxPool count from the first element of the whole batch.
    guard facts.node.operation != "MaxPool" || facts.outputs.count == 1 else {
      throw facts.mixed("gives indices into the whole batch")
    }
    return Array(repeating: facts.state(0), count: facts.outputs.count)
  }

  /// Every input that carries samples does so on the first axis.
  static func allOnFirstAxis(_ facts: BatchFacts) throws(BatchRefusal) -> [BatchState] {
    guard facts.axis(0) == 0 else {
      throw facts.mixed("has samples on an axis other than the first")
    }
    // Angles that all samples share are looked up by position; without positions there is a row
    // of them for each sample.
    let sharesAngles = facts.node.operation == "RotaryEmbedding" && facts.has(3)
    for index in facts.states.indices.dropFirst() where facts.has(index) {
      if sharesAngles, index < 3, facts.state(index) == .constant { continue }
      guard facts.state(index) == facts.state(0) else {
        throw facts.mixed("combines samples with a tensor that all of them share")
      }
    }
    return Array(repeating: facts.state(0), count: facts.outputs.count)
  }

  static func resize(_ facts: BatchFacts) throws(BatchRefusal) -> [BatchState] {
    for index in facts.states.indices.dropFirst() where facts.axis(index) != nil {
      throw facts.mixed("has sizes that samples decide")
    }
    guard let axis = facts.axis(0), let from = facts.shape(0), let to = facts.outputs[0].shape,
      from.count == to.count
    else { throw facts.mixed("makes a tensor of unknown rank") }
    guard from[axis] == to[axis] else { throw facts.mixed("resizes the axis that carries samples") }
    let isCubicOrLinear = facts.node.string("mode", default: "nearest") != "nearest"
    let crops =
      facts.node.string("coordinate_transformation_mode", default: "") == "tf_crop_and_resize"
    guard !(isCubicOrLinear && crops) else { throw facts.mixed("crops the batch as a whole") }
    return [facts.state(0)]
  }

  static func gemm(_ facts: BatchFacts) throws(BatchRefusal) -> [BatchState] {
    guard case .samples(let axis, let rows) = facts.state(0), facts.state(1) == .constant else {
      throw facts.mixed("multiplies by a matrix that differs between samples")
    }
    let flips = facts.node.int("transA", default: 0) != 0
    guard axis == (flips ? 1 : 0) else {
      throw facts.mixed("sums over the axis that carries samples")
    }
    let result = BatchState.samples(axis: 0, rows: rows)
    switch facts.state(2) {
    case .constant:
      let rest = facts.shape(2) ?? []
      guard rest.count < 2 || rest[0] == .fixed(1) else {
        throw facts.mixed("adds a constant that has several rows")
      }
    case .samples(let place, _):
      let rank = facts.shape(2)?.count ?? 0
      guard rank == 2, place == 0, facts.state(2) == result else {
        throw facts.mixed("adds samples that lie along another axis")
      }
    case .sizes: throw facts.mixed("computes with the number of samples")
    }
    return [result]
  }

  static func matMul(_ facts: BatchFacts) throws(BatchRefusal) -> [BatchState] {
    if facts.node.operation == "MatMulInteger", !facts.areConstant(from: 2) {
      throw facts.mixed("has a zero point that differs between samples")
    }
    return [try product(facts, 0, 1)]
  }

  static func quantizedMatMul(_ facts: BatchFacts) throws(BatchRefusal) -> [BatchState] {
    for index in [1, 2, 4, 5, 6, 7] where facts.state(index) != .constant {
      throw facts.mixed("has a scale that differs between samples")
    }
    return [try product(facts, 0, 3)]
  }

  /// Where the product of two inputs carries samples: on a row or on an axis that is mapped over.
  private static func product(
    _ facts: BatchFacts, _ left: Int, _ right: Int
  ) throws(BatchRefusal) -> BatchState {
    guard let a = facts.shape(left), let b = facts.shape(right), a.count >= 2, b.count >= 2 else {
      throw facts.mixed("multiplies vectors or tensors of unknown rank")
    }
    let rank = max(a.count, b.count)
    var result: BatchState?
    for (index, shape, mayBeRow) in [(left, a, true), (right, b, false)] {
      switch facts.state(index) {
      case .constant: continue
      case .sizes: throw facts.mixed("computes with the number of samples")
      case .samples(let axis, let rows):
        let isMapped = axis < shape.count - 2
        // Rows of the left side stay apart only when the right side is the same for all of them.
        let isRow = mayBeRow && axis == shape.count - 2 && facts.axis(right) == nil
        let isColumn = !mayBeRow && axis == shape.count - 1 && facts.axis(left) == nil
        guard isMapped || isRow || isColumn else {
          throw facts.mixed("sums over the axis that carries samples, or pairs samples up")
        }
        let place = BatchState.samples(axis: axis + rank - shape.count, rows: rows)
        guard result == nil || result == place else {
          throw facts.mixed("combines samples that lie along different axes")
        }
        result = place
      }
    }
    guard case .samples(let axis, _)? = result else {
      throw facts.mixed("has no input with samples")
    }
    for (index, shape) in [(left, a), (right, b)] where facts.state(index) == .constant {
      let place = axis - (rank - shape.count)
      guard axis >= rank - 2 || place < 0 || shape[place] == .fixed(1) else {
        throw facts.mixed("multiplies samples by a constant that has several entries there")
      }
    }
    return result ?? .constant
  }

  static func einsum(_ facts: BatchFacts) throws(BatchRefusal) -> [BatchState] {
    var ranks: [Int] = []
    for input in facts.inputs {
      guard let rank = input?.shape?.count else {
        throw facts.mixed("has an input of unknown rank")
      }
      ranks.append(rank)
    }
    let plain = NodeFacts(facts.node, facts.inputs, facts.sizes)
    guard let labels = try? EinsumEquation(plain).labels(ranks: ranks, plain) else {
      throw facts.mixed("has an equation that cannot be read")
    }
    var carrying: (label: String, rows: Dimension)?
    for (index, names) in labels.inputs.enumerated() {
      guard case .samples(let axis, let rows) = facts.state(index) else { continue }
      guard carrying == nil || (carrying?.label == names[axis] && carrying?.rows == rows) else {
        throw facts.mixed("combines samples that lie along different axes")
      }
      carrying = (names[axis], rows)
    }
    guard let carrying, let place = labels.output.firstIndex(of: carrying.label) else {
      throw facts.mixed("sums over the axis that carries samples")
    }
    for (index, names) in labels.inputs.enumerated() where facts.axis(index) == nil {
      guard facts.state(index) == .constant,
        names.firstIndex(of: carrying.label).map({ facts.shape(index)?[$0] == .fixed(1) }) ?? true
      else { throw facts.mixed("combines samples with a constant that has several entries there") }
    }
    return [.samples(axis: place, rows: carrying.rows)]
  }

  /// Sequences: samples lie on axis 1, or on axis 0 with layout 1.
  static func recurrence(_ facts: BatchFacts) throws(BatchRefusal) -> [BatchState] {
    let batchFirst = facts.node.int("layout", default: 0) != 0
    guard case .samples(let axis, let rows) = facts.state(0), axis == (batchFirst ? 0 : 1) else {
      throw facts.mixed("runs along the axis that carries samples")
    }
    for index in [1, 2, 3, 7] where facts.state(index) != .constant {
      throw facts.mixed("has weights that differ between samples")
    }
    let stateAxis = batchFirst ? 0 : 1
    for index in [5, 6] where facts.has(index) {
      guard facts.state(index) == .samples(axis: stateAxis, rows: rows) else {
        throw facts.mixed("starts from a state that does not have one entry per sample")
      }
    }
    if facts.has(4), facts.state(4) != .samples(axis: 0, rows: rows) {
      throw facts.mixed("has sequence lengths that are not one per sample")
    }
    return facts.outputs.indices.map { index in
      .samples(axis: index == 0 ? (batchFirst ? 0 : 2) : stateAxis, rows: rows)
    }
  }
}
