import Models

/// Recognises activations that files spell out in several nodes.
enum ActivationPatterns {
  static func run(_ graph: inout Graph) {
    var rewriter = Rewriter(graph)
    for index in graph.nodes.indices {
      guard let node = rewriter.nodes[index], node.domain.isEmpty, node.inputs.count == 2 else {
        continue
      }
      if node.operation == "Mul" { matchProduct(node, at: index, &rewriter) }
    }
    graph = rewriter.finish()
  }

  /// x · sigmoid(x), x · hardsigmoid(x), x · tanh(softplus(x)).
  private static func matchProduct(_ node: Node, at index: Int, _ rewriter: inout Rewriter) {
    for (input, gate) in [(node.inputs[0], node.inputs[1]), (node.inputs[1], node.inputs[0])] {
      guard let input, let factor = single(gate, rewriter) else { continue }
      switch factor.node.operation {
      case "Sigmoid" where factor.node.inputs == [input]:
        replace([factor.index, index], node, by: "Silu", domain: "stowage", of: input, &rewriter)
      case "HardSigmoid" where factor.node.inputs == [input]:
        guard abs(factor.node.float("alpha", default: 0.2) - 1 / 6) < 1e-6,
          factor.node.float("beta", default: 0.5) == 0.5
        else { continue }
        replace([factor.index, index], node, by: "HardSwish", of: input, &rewriter)
      case "Tanh":
        guard let inner = single(factor.node.inputs[0], rewriter),
          inner.node.operation == "Softplus", inner.node.inputs == [input]
        else { continue }
        replace(
          [inner.index, factor.index, index], node, by: "Mish", of: input, &rewriter)
      default: continue
      }
      return
    }
  }

  /// The standard node that writes a value which only one node reads.
  private static func single(
    _ id: ValueID?, _ rewriter: Rewriter
  ) -> (index: Int, node: Node)? {
    guard let found = rewriter.producer(of: id), found.node.domain.isEmpty,
      rewriter.onlyReader(of: id) != nil
    else { return nil }
    return found
  }

  private static func replace(
    _ indices: [Int], _ node: Node, by operation: String, domain: String = "", of input: ValueID,
    _ rewriter: inout Rewriter
  ) {
    rewriter.fuse(
      indices,
      into: Node(
        name: node.name, operation: operation, domain: domain, opset: max(node.opset, 18),
        inputs: [input], outputs: node.outputs))
  }
}
