import Models

/// Proves that samples stay apart on their way through a network.
///
/// Every value is the same for all batches, or follows from sizes alone, or carries the samples
/// along one axis. Each operator has a rule that says where its output carries them, given where
/// its inputs do; an operator whose output elements would depend on several samples has none.
/// Source: the rules are those of vectorising maps, as in automatic batching.
enum BatchAnalysis {
  /// Finds the state of every value.
  ///
  /// - Parameters:
  ///   - graph: A graph whose inputs have the symbol as their first dimension.
  ///   - facts: What inference knows of its values.
  /// - Throws: `BatchRefusal` with the node at which the proof fails.
  static func run(
    _ graph: Graph, facts: [ValueFacts], symbol: String, sizes: SizeAlgebra
  ) throws(BatchRefusal) -> [BatchState] {
    var states = Array(repeating: BatchState.constant, count: graph.values.count)
    for id in graph.inputs {
      guard let shape = facts[id.index].shape, shape.first == .symbol(symbol),
        !shape.dropFirst().contains(where: { sizes.depends($0, on: symbol) })
      else {
        throw BatchRefusal(
          reason: "input '\(graph[id].name)' does not carry samples on its first axis alone")
      }
      states[id.index] = .samples(axis: 0, rows: .fixed(1))
    }
    for node in graph.nodes {
      let nodeFacts = BatchFacts(
        node: node, states: node.inputs.map { $0.map { states[$0.index] } },
        inputs: node.inputs.map { $0.map { facts[$0.index] } },
        outputs: node.outputs.map { $0.map { facts[$0.index] } ?? ValueFacts() }, symbol: symbol,
        sizes: sizes)
      let results = try visit(nodeFacts)
      for (id, state) in zip(node.outputs, results) {
        if let id { states[id.index] = state }
      }
    }
    for id in graph.outputs where states[id.index] != .samples(axis: 0, rows: .fixed(1)) {
      throw BatchRefusal(
        reason: "output '\(graph[id].name)' does not carry one entry per sample on its first axis")
    }
    return states
  }

  /// Applies a node's rule and checks the outcome against the shapes.
  private static func visit(_ facts: BatchFacts) throws(BatchRefusal) -> [BatchState] {
    if !facts.states.isEmpty, facts.states.allSatisfy({ $0 == nil || $0 == .constant }) {
      return facts.outputs.map { _ in .constant }
    }
    if facts.node.operation == "Shape" || facts.node.operation == "Size" {
      return [
        facts.outputs.first?.isFree(of: facts.symbol, facts.sizes) == true ? .constant : .sizes
      ]
    }
    if facts.states.allSatisfy({ $0 == nil || $0 == .constant || $0 == .sizes }) {
      return try facts.outputs.map { output throws(BatchRefusal) in
        try ofSizes(output, facts)
      }
    }
    guard let rule = BatchRules.rule(facts.node) else {
      throw facts.mixed("is not known to keep samples apart")
    }
    let states = try rule(facts)
    for (state, output) in zip(states, facts.outputs) {
      guard case .samples(let axis, let rows) = state, let shape = output.shape else { continue }
      guard axis < shape.count,
        shape[axis] == facts.sizes.multiply(rows, .symbol(facts.symbol)),
        shape.indices.allSatisfy({ $0 == axis || !facts.sizes.depends(shape[$0], on: facts.symbol) }
        )
      else {
        throw facts.mixed("makes shape \(shape.text), which does not carry samples on one axis")
      }
    }
    return states
  }

  /// The state of what is computed from sizes: filled tensors may have one entry per sample.
  private static func ofSizes(
    _ output: ValueFacts, _ facts: BatchFacts
  ) throws(BatchRefusal) -> BatchState {
    if output.isFree(of: facts.symbol, facts.sizes) { return .constant }
    guard output.known == nil, let shape = output.shape else { return .sizes }
    let carrying = shape.indices.filter { facts.sizes.depends(shape[$0], on: facts.symbol) }
    guard !carrying.isEmpty else { return .sizes }
    guard ["ConstantOfShape", "Expand", "Tile"].contains(facts.node.operation),
      carrying.count == 1, let rows = facts.sizes.multiple(of: facts.symbol, in: shape[carrying[0]])
    else { throw facts.mixed("makes shape \(shape.text) from the number of samples") }
    return .samples(axis: carrying[0], rows: rows)
  }
}

extension ValueFacts {
  /// Whether elements and shape are known and do not change with the symbol.
  func isFree(of symbol: String, _ sizes: SizeAlgebra) -> Bool {
    guard let known, let shape, !shape.contains(where: { sizes.depends($0, on: symbol) }) else {
      return false
    }
    if case .sizes(_, let elements) = known {
      return !elements.contains { sizes.depends($0, on: symbol) }
    }
    return true
  }
}
