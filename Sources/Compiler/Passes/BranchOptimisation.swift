import Models
import Vocabulary

/// Optimises the branches that stay branches, with what is known of the values they read.
enum BranchOptimisation {
  static func run(
    _ graph: inout Graph, _ passes: CompileOptions.Passes
  ) throws(ModelError) {
    guard graph.nodes.contains(where: { $0.operation == "If" && $0.domain.isEmpty }) else { return }
    let facts = try ShapeInference.infer(graph)
    for index in graph.nodes.indices
    where graph.nodes[index].operation == "If" && graph.nodes[index].domain.isEmpty {
      for name in ["then_branch", "else_branch"] {
        guard let body = graph.nodes[index].graph(name) else { continue }
        let given = graph.nodes[index].inputs.suffix(body.captures.count)
        // A branch that does not fit these shapes may be there for others: it stays as it is.
        if let better = try? optimised(body, Array(given), graph, facts, passes) {
          graph.nodes[index].attributes[name] = .graph(better)
        }
      }
    }
  }

  /// - Parameter given: The values around the branch that its captures stand for.
  private static func optimised(
    _ body: Graph, _ given: [ValueID?], _ graph: Graph, _ facts: [ValueFacts],
    _ passes: CompileOptions.Passes
  ) throws(ModelError) -> Graph {
    var body = body
    let captures = body.captures
    (body.captures, body.inputs) = ([], [])
    for (capture, id) in zip(captures, given) {
      guard let id else { throw ModelError("A branch reads a value that is left out.") }
      if let constant = graph[id].constant {
        body[capture].constant = constant
        body[capture].type = constant.type
        body[capture].shape = constant.shape.map(Dimension.fixed)
      } else {
        body[capture].type = facts[id.index].type
        body[capture].shape = facts[id.index].shape
        body.inputs.append(capture)
      }
    }
    try Optimisation.beforeBatching(&body, passes)
    try Optimisation.afterBatching(&body, passes)
    (body.captures, body.inputs) = (captures, [])
    return body
  }
}
