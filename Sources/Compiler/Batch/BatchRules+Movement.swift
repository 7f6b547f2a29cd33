import Models

extension BatchRules {
  static let movement = rules([
    (reshape, ["Reshape", "Flatten"]), (transpose, ["Transpose"]), (squeeze, ["Squeeze"]),
    (unsqueeze, ["Unsqueeze"]), (concat, ["Concat"]), (split, ["Split"]), (slice, ["Slice"]),
    (keepsAxis, ["Pad", "Tile"]), (expand, ["Expand"]),
  ])

  static let indexing = rules([
    (gather, ["Gather"]), (gatherElements, ["GatherElements"]), (gatherND, ["GatherND"]),
    (scatterElements, ["ScatterElements", "Scatter"]), (oneHot, ["OneHot"]),
    (
      reduce,
      [
        "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
        "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare",
      ]
    ),
    (argument, ["ArgMax", "ArgMin"]), (topK, ["TopK"]),
  ])

  /// A sample's elements stay together when samples are outermost before and after.
  static func reshape(_ facts: BatchFacts) throws(BatchRefusal) -> [BatchState] {
    guard case .samples(let axis, _) = facts.state(0), let from = facts.shape(0),
      let to = facts.outputs[0].shape
    else { throw facts.mixed("makes a tensor of unknown rank") }
    let outer = facts.sizes.multiply(from[..<axis])
    guard let place = to.indices.first(where: { facts.sizes.depends(to[$0], on: facts.symbol) }),
      let rows = facts.sizes.multiple(of: facts.symbol, in: to[place])
    else { throw facts.mixed("does not keep samples on one axis: \(from.text) to \(to.text)") }
    // What lies outside of the samples must stay outside of them.
    guard facts.sizes.multiply(to[..<place]) == outer else {
      throw facts.mixed("does not keep samples on one axis: \(from.text) to \(to.text)")
    }
    return [.samples(axis: place, rows: rows)]
  }

  static func transpose(_ facts: BatchFacts) throws(BatchRefusal) -> [BatchState] {
    guard case .samples(let axis, let rows) = facts.state(0), let rank = facts.shape(0)?.count,
      let place = (facts.node.ints("perm") ?? Array((0..<rank).reversed())).firstIndex(of: axis)
    else { throw facts.mixed("makes a tensor of unknown rank") }
    return [.samples(axis: place, rows: rows)]
  }

  static func squeeze(_ facts: BatchFacts) throws(BatchRefusal) -> [BatchState] {
    guard case .samples(let axis, let rows) = facts.state(0), let shape = facts.shape(0) else {
      throw facts.mixed("makes a tensor of unknown rank")
    }
    guard
      let removed = facts.list("axes", orInput: 1)?.map({ $0 < 0 ? $0 + shape.count : $0 }),
      !removed.contains(axis)
    else { throw facts.mixed("removes the axis that carries samples") }
    return [.samples(axis: axis - removed.filter { $0 < axis }.count, rows: rows)]
  }

  static func unsqueeze(_ facts: BatchFacts) throws(BatchRefusal) -> [BatchState] {
    guard case .samples(let axis, let rows) = facts.state(0), let rank = facts.shape(0)?.count,
      let axes = facts.list("axes", orInput: 1)
    else { throw facts.mixed("adds axes that a request decides") }
    let added = axes.map { $0 < 0 ? $0 + rank + axes.count : $0 }
    let kept = (0..<rank + axes.count).filter { !added.contains($0) }
    return [.samples(axis: kept[axis], rows: rows)]
  }

  static func concat(_ facts: BatchFacts) throws(BatchRefusal) -> [BatchState] {
    guard let rank = facts.outputs[0].shape?.count else {
      throw facts.mixed("makes a tensor of unknown rank")
    }
    let given = facts.node.int("axis", default: 1)
    let joined = given < 0 ? given + rank : given
    guard let first = facts.states.first ?? nil, case .samples(let axis, _) = first else {
      throw facts.mixed("joins samples with a tensor that all of them share")
    }
    for index in facts.states.indices where facts.state(index) != first {
      throw facts.mixed("joins samples with a tensor that does not carry them the same way")
    }
    guard axis != joined else { throw facts.mixed("joins along the axis that carries samples") }
    return [first]
  }

  static func split(_ facts: BatchFacts) throws(BatchRefusal) -> [BatchState] {
    let given = facts.node.int("axis", default: 0)
    guard let carrying = facts.axis(0), let rank = facts.shape(0)?.count,
      facts.areConstant(from: 1),
      (given < 0 ? given + rank : given) != carrying
    else { throw facts.mixed("splits the axis that carries samples, or by them") }
    return Array(repeating: facts.state(0), count: facts.outputs.count)
  }

  static func slice(_ facts: BatchFacts) throws(BatchRefusal) -> [BatchState] {
    guard let carrying = facts.axis(0), let rank = facts.shape(0)?.count else {
      throw facts.mixed("has bounds that differ between samples")
    }
    let count = facts.node.ints("starts")?.count ?? (facts.shape(1)?.fixed?.first ?? 0)
    let axes = facts.list("axes", orInput: 3) ?? (facts.has(3) ? nil : Array(0..<count))
    guard let axes,
      !axes.contains(where: { ($0 < 0 ? $0 + rank : $0) == carrying })
        || (facts.outputs[0].shape == facts.shape(0) && isForward(facts))
    else { throw facts.mixed("cuts the axis that carries samples") }
    for index in 1..<max(facts.states.count, 1) {
      if case .samples = facts.state(index) {
        throw facts.mixed("has bounds that differ between samples")
      }
    }
    return [facts.state(0)]
  }

  private static func isForward(_ facts: BatchFacts) -> Bool {
    guard facts.has(4) else { return true }
    return facts.list("steps", orInput: 4)?.allSatisfy { $0 == 1 } ?? false
  }

  /// The axis that carries samples keeps its size, so nothing is added to it.
  static func keepsAxis(_ facts: BatchFacts) throws(BatchRefusal) -> [BatchState] {
    guard let axis = facts.axis(0), let from = facts.shape(0), let to = facts.outputs[0].shape,
      from[axis] == to[axis]
    else { throw facts.mixed("changes the axis that carries samples") }
    if facts.node.operation == "Pad" {
      let pads = facts.list("pads", orInput: 1)
      let axes = facts.has(3) ? facts.list("", orInput: 3) : Array(from.indices)
      let place = axes?.firstIndex { ($0 < 0 ? $0 + from.count : $0) == axis }
      guard let pads, let axes, place.map({ pads[$0] == 0 && pads[$0 + axes.count] == 0 }) ?? true
      else { throw facts.mixed("pads the axis that carries samples") }
    }
    for index in facts.states.indices.dropFirst() {
      if case .samples = facts.state(index) { throw facts.mixed("has sizes that samples decide") }
    }
    return [facts.state(0)]
  }

  static func expand(_ facts: BatchFacts) throws(BatchRefusal) -> [BatchState] {
    guard case .samples(let axis, let rows) = facts.state(0), let from = facts.shape(0),
      let to = facts.outputs[0].shape
    else { throw facts.mixed("has a shape that samples decide") }
    return [.samples(axis: axis + to.count - from.count, rows: rows)]
  }

  static func gather(_ facts: BatchFacts) throws(BatchRefusal) -> [BatchState] {
    guard let data = facts.shape(0), let indices = facts.shape(1) else {
      throw facts.mixed("makes a tensor of unknown rank")
    }
    let given = facts.node.int("axis", default: 0)
    let axis = given < 0 ? given + data.count : given
    switch (facts.state(0), facts.state(1)) {
    case (.samples(let carrying, let rows), .constant):
      guard carrying != axis else { throw facts.mixed("picks from the axis that carries samples") }
      let place = carrying < axis ? carrying : carrying + indices.count - 1
      return [.samples(axis: place, rows: rows)]
    case (.constant, .samples(let carrying, let rows)):
      return [.samples(axis: carrying + axis, rows: rows)]
    default: throw facts.mixed("picks by indices that differ between samples")
    }
  }

  static func gatherElements(_ facts: BatchFacts) throws(BatchRefusal) -> [BatchState] {
    let given = facts.node.int("axis", default: 0)
    guard let carrying = facts.axis(0), let rank = facts.shape(0)?.count,
      facts.state(0) == facts.state(1), (given < 0 ? given + rank : given) != carrying
    else { throw facts.mixed("picks from the axis that carries samples") }
    return [facts.state(0)]
  }

  static func scatterElements(_ facts: BatchFacts) throws(BatchRefusal) -> [BatchState] {
    guard facts.state(0) == facts.state(2) else {
      throw facts.mixed("writes to the axis that carries samples")
    }
    return try gatherElements(facts)
  }

  /// Indexing that maps over the axis with samples.
  static func gatherND(_ facts: BatchFacts) throws(BatchRefusal) -> [BatchState] {
    let mapped = facts.node.int("batch_dims", default: 0)
    guard let carrying = facts.axis(0), facts.state(0) == facts.state(1), carrying < mapped else {
      throw facts.mixed("picks from the axis that carries samples")
    }
    return [facts.state(0)]
  }

  static func oneHot(_ facts: BatchFacts) throws(BatchRefusal) -> [BatchState] {
    guard case .samples(let carrying, let rows) = facts.state(0), facts.areConstant(from: 1),
      let rank = facts.shape(0)?.count
    else { throw facts.mixed("has a depth that differs between samples") }
    let given = facts.node.int("axis", default: -1)
    let axis = given < 0 ? given + rank + 1 : given
    return [.samples(axis: carrying < axis ? carrying : carrying + 1, rows: rows)]
  }

  static func reduce(_ facts: BatchFacts) throws(BatchRefusal) -> [BatchState] {
    guard case .samples(let carrying, let rows) = facts.state(0),
      let rank = facts.shape(0)?.count, facts.areConstant(from: 1),
      let axes = try? ShapeRules.reducedAxes(
        facts.node, rank: rank, input: NodeFacts(facts.node, facts.inputs, facts.sizes))
    else { throw facts.mixed("reduces over axes that a request decides") }
    guard !axes.contains(carrying) else {
      throw facts.mixed("reduces over the axis that carries samples")
    }
    let keeps = facts.node.int("keepdims", default: 1) != 0
    let shift = keeps ? 0 : axes.filter { $0 < carrying }.count
    return [.samples(axis: carrying - shift, rows: rows)]
  }

  static func argument(_ facts: BatchFacts) throws(BatchRefusal) -> [BatchState] {
    guard case .samples(let carrying, let rows) = facts.state(0),
      let rank = facts.shape(0)?.count
    else { throw facts.mixed("makes a tensor of unknown rank") }
    let given = facts.node.int("axis", default: 0)
    let axis = given < 0 ? given + rank : given
    guard axis != carrying else {
      throw facts.mixed("compares along the axis that carries samples")
    }
    let keeps = facts.node.int("keepdims", default: 1) != 0
    return [.samples(axis: !keeps && axis < carrying ? carrying - 1 : carrying, rows: rows)]
  }

  static func topK(_ facts: BatchFacts) throws(BatchRefusal) -> [BatchState] {
    let given = facts.node.int("axis", default: -1)
    guard let carrying = facts.axis(0), let rank = facts.shape(0)?.count,
      facts.areConstant(from: 1),
      (given < 0 ? given + rank : given) != carrying
    else { throw facts.mixed("compares along the axis that carries samples") }
    return Array(repeating: facts.state(0), count: facts.outputs.count)
  }
}
