import Models

/// Where an operator's outputs carry the samples, given where its inputs do.
typealias BatchRule = @Sendable (BatchFacts) throws(BatchRefusal) -> [BatchState]

/// The rules by operator; an operator without one is taken to mix samples.
enum BatchRules {
  /// The rule for a node with at least one input that carries samples, or nil.
  static func rule(_ node: Node) -> BatchRule? {
    switch node.domain {
    case "": standard[node.operation]
    default: nil
    }
  }

  static let standard: [String: BatchRule] = [elementwise, windows, linear, movement, indexing]
    .reduce(into: [:]) { all, group in all.merge(group) { first, _ in first } }

  /// The same rule under several names.
  static func rules(_ groups: [(rule: BatchRule, names: [String])]) -> [String: BatchRule] {
    var rules: [String: BatchRule] = [:]
    for group in groups {
      for name in group.names { rules[name] = group.rule }
    }
    return rules
  }

  static let elementwise = rules([
    (
      broadcast,
      [
        "Abs", "Acos", "Acosh", "Add", "And", "Asin", "Asinh", "Atan", "Atanh", "BitShift",
        "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Cast", "Ceil", "Celu", "Clip",
        "Cos", "Cosh", "Div", "Elu", "Equal", "Erf", "Exp", "Floor", "Gelu", "Greater",
        "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN", "LeakyRelu",
        "Less", "LessOrEqual", "Log", "Max", "Mean", "Min", "Mish", "Mod", "Mul", "Neg", "Not",
        "Or", "PRelu", "Pow", "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign",
        "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Swish", "Tan", "Tanh",
        "ThresholdedRelu", "Where", "Xor",
      ]
    ),
    (first, ["CastLike"]), (dropout, ["Dropout"]),
    (alongAxis, ["Softmax", "LogSoftmax", "Hardmax", "LpNormalization", "CumSum", "CumProd"]),
    (layerNormalization, ["LayerNormalization", "RMSNormalization"]),
    (quantize, ["QuantizeLinear", "DequantizeLinear"]),
    (channelNormalization, ["MeanVarianceNormalization"]),
    (matrixwise, ["Trilu", "Det"]),
  ])

  /// All inputs that carry samples carry them on the same axis of the output.
  static func broadcast(_ facts: BatchFacts) throws(BatchRefusal) -> [BatchState] {
    guard let rank = facts.outputs.first?.shape?.count else {
      throw facts.mixed("makes a tensor of unknown rank")
    }
    var result: BatchState?
    for index in facts.states.indices {
      guard facts.has(index), case .samples(let axis, let rows) = facts.state(index),
        let shape = facts.shape(index)
      else { continue }
      let place = BatchState.samples(axis: axis + rank - shape.count, rows: rows)
      guard result == nil || result == place else {
        throw facts.mixed("combines samples that lie along different axes")
      }
      result = place
    }
    guard case .samples(let axis, _)? = result else {
      throw facts.mixed("has no input with samples")
    }
    for index in facts.states.indices where facts.has(index) && facts.axis(index) == nil {
      guard let shape = facts.shape(index) else {
        throw facts.mixed("has an input of unknown shape")
      }
      let place = axis - (rank - shape.count)
      guard place < 0 || shape[place] == .fixed(1) else {
        throw facts.mixed("combines samples with a constant that has several entries there")
      }
      guard facts.state(index) == .constant else {
        throw facts.mixed("computes with the number of samples")
      }
    }
    return Array(repeating: result ?? .constant, count: facts.outputs.count)
  }

  /// The type of the second input counts, not its elements.
  static func first(_ facts: BatchFacts) throws(BatchRefusal) -> [BatchState] {
    guard case .samples = facts.state(0) else {
      throw facts.mixed("has no samples in its first input")
    }
    return [facts.state(0)]
  }

  static func dropout(_ facts: BatchFacts) throws(BatchRefusal) -> [BatchState] {
    guard !facts.has(2) || facts.list("", orInput: 2) == [0] else {
      throw facts.mixed("may be in training mode")
    }
    return Array(repeating: facts.state(0), count: facts.outputs.count)
  }

  /// Every line along one axis on its own; before opset 13 Softmax takes all axes from that one on.
  static func alongAxis(_ facts: BatchFacts) throws(BatchRefusal) -> [BatchState] {
    guard let carrying = facts.axis(0), let rank = facts.shape(0)?.count else {
      throw facts.mixed("has no input with samples")
    }
    let isFlat = facts.node.opset < 13 && facts.node.operation.hasSuffix("max")
    var axis = facts.node.int("axis", default: isFlat ? 1 : -1)
    if facts.node.operation.hasPrefix("Cum") {
      guard let given = facts.list("axis", orInput: 1)?.first else {
        throw facts.mixed("sums along an axis that a request decides")
      }
      axis = given
    }
    if axis < 0 { axis += rank }
    guard isFlat ? axis > carrying : axis != carrying else {
      throw facts.mixed("works along the axis that carries samples")
    }
    return [facts.state(0)]
  }

  static func layerNormalization(_ facts: BatchFacts) throws(BatchRefusal) -> [BatchState] {
    guard let carrying = facts.axis(0), let rank = facts.shape(0)?.count, facts.areConstant(from: 1)
    else { throw facts.mixed("has a scale or bias that differs between samples") }
    let axis = facts.node.int("axis", default: -1)
    guard (axis < 0 ? axis + rank : axis) > carrying else {
      throw facts.mixed("normalises over the axis that carries samples")
    }
    return Array(repeating: facts.state(0), count: facts.outputs.count)
  }

  static func quantize(_ facts: BatchFacts) throws(BatchRefusal) -> [BatchState] {
    guard facts.axis(0) != nil, facts.areConstant(from: 1), let scale = facts.shape(1),
      let rank = facts.shape(0)?.count
    else { throw facts.mixed("has a scale that differs between samples") }
    let axis = facts.node.int("axis", default: 1)
    guard scale.isEmpty || scale == [.fixed(1)] || (axis < 0 ? axis + rank : axis) != facts.axis(0)
    else { throw facts.mixed("has one scale per sample") }
    return [facts.state(0)]
  }

  static func channelNormalization(_ facts: BatchFacts) throws(BatchRefusal) -> [BatchState] {
    let axes = facts.node.ints("axes") ?? [0, 2, 3]
    guard let carrying = facts.axis(0), let rank = facts.shape(0)?.count,
      !axes.contains(where: { ($0 < 0 ? $0 + rank : $0) == carrying })
    else { throw facts.mixed("normalises over the axis that carries samples") }
    return [facts.state(0)]
  }

  /// Works on the last two axes.
  static func matrixwise(_ facts: BatchFacts) throws(BatchRefusal) -> [BatchState] {
    guard let carrying = facts.axis(0), let rank = facts.shape(0)?.count, carrying < rank - 2,
      facts.areConstant(from: 1)
    else { throw facts.mixed("works along the axis that carries samples") }
    return [facts.state(0)]
  }
}
