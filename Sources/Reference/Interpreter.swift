public import Models

/// Runs whole graphs through `Reference`, node by node.
public enum Interpreter {
  /// Computes a graph's outputs.
  ///
  /// - Parameters:
  ///   - graph: The graph, optimised or not.
  ///   - inputs: One tensor per input of the graph.
  ///   - captures: In a subgraph, one tensor per capture; nil where an optional one is left out.
  /// - Returns: One tensor per output of the graph.
  /// - Throws: `ModelError`, when a node cannot be evaluated or an output has no value.
  public static func run(
    _ graph: Graph, inputs: [Tensor], captures: [Tensor?] = []
  ) throws(ModelError) -> [Tensor] {
    let values = try runKeepingAll(graph, inputs: inputs, captures: captures)
    var outputs: [Tensor] = []
    for id in graph.outputs {
      guard let tensor = values[id.index] else {
        throw ModelError("Output '\(graph[id].name)' of graph '\(graph.name)' has no value.")
      }
      outputs.append(tensor)
    }
    return outputs
  }

  /// Computes every value of a graph, indexed as `Graph.values` is.
  ///
  /// - Throws: `ModelError`, when a node cannot be evaluated.
  public static func runKeepingAll(
    _ graph: Graph, inputs: [Tensor], captures: [Tensor?] = []
  ) throws(ModelError) -> [Tensor?] {
    guard inputs.count == graph.inputs.count, captures.count == graph.captures.count else {
      throw ModelError(
        "Graph '\(graph.name)' takes \(graph.inputs.count) inputs and \(graph.captures.count) "
          + "captures but was given \(inputs.count) and \(captures.count).")
    }
    var values = graph.values.map(\.constant)
    for (id, tensor) in zip(graph.inputs, inputs) { values[id.index] = tensor }
    for (id, tensor) in zip(graph.captures, captures) { values[id.index] = tensor }
    for node in graph.nodes {
      let results = try Reference.evaluate(
        node, node.inputs.map { $0.flatMap { values[$0.index] } })
      for (id, tensor) in zip(node.outputs, results) {
        if let id { values[id.index] = tensor }
      }
    }
    return values
  }
}
