import Models
import Vocabulary

extension ShapeRules {
  static let reductions = rules([
    (
      reduce,
      [
        "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
        "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare",
      ]
    )
  ])

  static func reduce(_ facts: inout NodeFacts) throws(ModelError) {
    guard let shape = facts.shape(0) else {
      facts.set(0, facts.type(0), nil)
      return
    }
    let keeps = facts.node.int("keepdims", default: 1) != 0
    guard let axes = try reducedAxes(facts.node, rank: shape.count, input: facts) else {
      let removed = keeps ? 0 : facts.shape(1)?.fixed?.first
      let rank = removed.map { max(shape.count - $0, 0) }
      facts.set(0, facts.type(0), rank.map { facts.unknown($0) })
      return
    }
    facts.set(0, facts.type(0), reduced(shape, axes, keeps: keeps))
    guard facts.node.operation == "ReduceProd", shape.count == 1, axes == [0],
      let elements = facts.knownSizes(0)
    else { return }
    facts.outputs[0].known = .sizes(
      shape: keeps ? [1] : [], [facts.sizes.multiply(elements)])
  }

  /// The axes that a reduction takes away, or nil when a request decides them.
  static func reducedAxes(
    _ node: Node, rank: Int, input facts: NodeFacts
  ) throws(ModelError) -> [Int]? {
    let all = node.int("noop_with_empty_axes", default: 0) != 0 ? [] : Array(0..<rank)
    guard let axes = facts.list("axes", orInput: 1) else { return facts.has(1) ? nil : all }
    return axes.isEmpty ? all : try facts.axes(axes, rank: rank)
  }

  /// A shape without some axes, or with 1 in their places.
  static func reduced(_ shape: [Dimension], _ axes: [Int], keeps: Bool) -> [Dimension] {
    keeps
      ? shape.indices.map { axes.contains($0) ? .fixed(1) : shape[$0] }
      : shape.indices.filter { !axes.contains($0) }.map { shape[$0] }
  }
}
