import Models
import Vocabulary

extension ShapeRules {
  static let control: [String: ShapeRule] = ["If": branch, "Loop": loop, "Scan": scan]

  /// Both branches are looked at: what they agree on is known of the result.
  static func branch(_ facts: inout NodeFacts) throws(ModelError) {
    guard let yes = facts.node.graph("then_branch"), let no = facts.node.graph("else_branch") else {
      throw facts.refusal("lacks a branch")
    }
    var taken: [Graph] = [yes, no]
    if let condition = facts.knownInts(0)?.first { taken = [condition != 0 ? yes : no] }
    var results: [[ValueFacts]] = []
    for graph in taken {
      guard graph.outputs.count >= facts.outputs.count else {
        throw facts.refusal("has a branch with too few outputs")
      }
      let captures = Array(facts.inputs.suffix(graph.captures.count))
      do {
        let found = try ShapeInference.infer(
          graph, inputs: [], captures: captures, sizes: facts.sizes)
        results.append(graph.outputs.map { found[$0.index] })
      } catch {
        // A branch that does not fit these shapes is there for others: taken, it would fail.
        guard taken.count > 1 else { throw error }
      }
    }
    guard !results.isEmpty else { throw facts.refusal("has no branch that fits its inputs") }
    for index in facts.outputs.indices {
      let first = results[0][index]
      let agreed = results.dropFirst().reduce(first.shape) { shape, other in
        merge(shape, other[index].shape, facts, output: index)
      }
      facts.set(index, first.type, agreed)
    }
  }

  static func loop(_ facts: inout NodeFacts) throws(ModelError) {
    guard let body = facts.node.graph("body") else { throw facts.refusal("lacks its body") }
    let carried = body.inputs.count - 2
    let own = facts.inputs.count - body.captures.count
    guard carried >= 0, own == carried + 2, body.outputs.count >= carried + 1 else {
      throw facts.refusal("does not fit its body's inputs and outputs")
    }
    // Shapes that the body changes from step to step are not known after it.
    var states = facts.inputs[2..<own].map { input in
      ValueFacts(type: input?.type, shape: input?.shape)
    }
    let captures = Array(facts.inputs[own...])
    var found: [ValueFacts] = []
    for _ in 0...Limits.tensorRank {
      found = try inferBody(body, states, captures, facts)
      var changed = false
      for place in 0..<carried {
        let after = found[body.outputs[place + 1].index].shape
        let merged = merge(states[place].shape, after, facts, output: place)
        changed = changed || merged != states[place].shape
        states[place].shape = merged
      }
      if !changed { break }
    }
    for place in 0..<carried { facts.set(place, states[place].type, states[place].shape) }
    let trips = facts.knownSizes(0)?.first.flatMap { facts.knownSizes(1) == nil ? nil : $0 }
    for (place, id) in body.outputs.dropFirst(carried + 1).enumerated() {
      let index = carried + place
      let count = trips ?? .symbol("\(facts.node.name):\(index).0")
      facts.set(index, found[id.index].type, found[id.index].shape.map { [count] + $0 })
    }
  }

  private static func inferBody(
    _ body: Graph, _ states: [ValueFacts], _ captures: [ValueFacts?], _ facts: NodeFacts
  ) throws(ModelError) -> [ValueFacts] {
    var typed = body
    for (id, state) in zip(body.inputs.dropFirst(2), states) where typed[id].type == nil {
      typed[id].type = state.type
    }
    return try ShapeInference.infer(
      typed, inputs: [[], []] + states.map(\.shape), captures: captures, sizes: facts.sizes)
  }

  /// States keep their shapes; sequences are cut along their scan axes.
  static func scan(_ facts: inout NodeFacts) throws(ModelError) {
    guard let body = facts.node.graph("body") else { throw facts.refusal("lacks its body") }
    let sequences = facts.node.int("num_scan_inputs", default: 0)
    let states = body.inputs.count - sequences
    let own = facts.inputs.count - body.captures.count
    guard sequences > 0, states >= 0, own == body.inputs.count, body.outputs.count >= states else {
      throw facts.refusal("does not fit its body's inputs and outputs")
    }
    let axes = facts.node.ints("scan_input_axes") ?? Array(repeating: 0, count: sequences)
    guard axes.count == sequences else { throw facts.refusal("has axes for other inputs") }
    var shapes: [[Dimension]?] = []
    var steps: Dimension?
    for index in 0..<own {
      guard index >= states, var shape = facts.shape(index) else {
        shapes.append(facts.shape(index))
        continue
      }
      steps = shape.remove(at: try facts.axis(axes[index - states], rank: shape.count))
      shapes.append(shape)
    }
    var typed = body
    for (place, id) in body.inputs.enumerated() where typed[id].type == nil {
      typed[id].type = facts.type(place)
    }
    let found = try ShapeInference.infer(
      typed, inputs: shapes, captures: Array(facts.inputs[own...]), sizes: facts.sizes)
    for (place, id) in body.outputs.enumerated() {
      var shape = place < states ? facts.shape(place) : found[id.index].shape
      if place >= states, let inner = shape {
        let given = facts.node.ints("scan_output_axes")
        let axis = given.map { place - states < $0.count ? $0[place - states] : 0 } ?? 0
        shape?.insert(
          steps ?? .symbol("\(facts.node.name):\(place)"),
          at: try facts.axis(axis, rank: inner.count + 1))
      }
      facts.set(place, found[id.index].type, shape)
    }
  }

  /// What two shapes have in common; a size they differ in becomes a symbol.
  private static func merge(
    _ left: [Dimension]?, _ right: [Dimension]?, _ facts: NodeFacts, output: Int
  ) -> [Dimension]? {
    guard let left, let right, left.count == right.count else { return nil }
    return left.indices.map { axis in
      left[axis] == right[axis] ? left[axis] : .symbol("\(facts.node.name):\(output).\(axis)")
    }
  }
}
