import Models
import Reference
import Vocabulary

/// Lets a transposition meet the next one, past nodes that work element by element between them.
///
/// Files from frameworks with channels last turn every image around each convolution; the turns
/// around an activation then cancel out.
enum TransposeSinking {
  private static let elementwise: Set<String> = [
    "Abs", "Cast", "Ceil", "Clip", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid",
    "HardSwish", "LeakyRelu", "Log", "Mish", "Neg", "Not", "Reciprocal", "Relu", "Round", "Selu",
    "Sigmoid", "Sign", "Silu", "Softplus", "Softsign", "Sqrt", "Swish", "Tanh",
  ]
  private static let binary: Set<String> = ["Add", "Sub", "Mul", "Div", "Pow", "Max", "Min"]

  /// Sinks what can be; returns whether anything was.
  static func run(_ graph: inout Graph) throws(ModelError) -> Bool {
    var rewriter = Rewriter(graph)
    for index in graph.nodes.indices {
      guard let node = rewriter.nodes[index], node.domain.isEmpty, node.operation == "Transpose",
        let order = node.ints("perm")
      else { continue }
      try sink(node, at: index, order, &rewriter)
    }
    graph = rewriter.finish()
    return rewriter.hasChanged
  }

  private static func sink(
    _ node: Node, at index: Int, _ order: [Int], _ rewriter: inout Rewriter
  ) throws(ModelError) {
    guard let source = node.inputs[0], var end = node.outputs[0] else { return }
    var chain: [(index: Int, node: Node)] = []
    while let next = rewriter.onlyReader(of: end), let output = next.node.outputs.first ?? nil,
      passes(next.node, end, order.count, rewriter)
    {
      chain.append(next)
      end = output
    }
    guard !chain.isEmpty, let last = rewriter.standardReader("Transpose", of: end),
      let outer = last.node.ints("perm"), outer.count == order.count
    else { return }
    var previous = node.outputs[0]
    for (place, link) in chain.enumerated() {
      var moved = link.node
      moved.inputs = try moved.inputs.map { id throws(ModelError) in
        if id == previous { return place == 0 ? source : id }
        return try id.map { id throws(ModelError) in try turned(id, order, &rewriter) }
      }
      previous = link.node.outputs[0]
      rewriter.replace(link.index, with: moved)
    }
    var joined = last.node
    joined.attributes["perm"] = .ints(outer.map { order[$0] })
    rewriter.replace(last.index, with: joined)
    rewriter.remove(index)
  }

  /// Whether a node gives the same, turned, when its input is turned and its constants are.
  private static func passes(
    _ node: Node, _ input: ValueID, _ rank: Int, _ rewriter: Rewriter
  ) -> Bool {
    if elementwise.contains(node.operation) { return node.inputs.first == input }
    guard binary.contains(node.operation), node.domain.isEmpty, node.inputs.count == 2,
      let other = rewriter.other(node, than: input), other != input,
      let constant = rewriter.constant(other)
    else { return false }
    return constant.shape.count <= rank && constant.type != .string
  }

  /// A constant as it must be before the turn to give what it gave after it.
  private static func turned(
    _ id: ValueID, _ order: [Int], _ rewriter: inout Rewriter
  ) throws(ModelError) -> ValueID {
    guard let constant = rewriter.constant(id), constant.elementCount > 1 else { return id }
    let ones = Array(repeating: 1, count: order.count - constant.shape.count)
    var inverse = Array(repeating: 0, count: order.count)
    for (place, axis) in order.enumerated() { inverse[axis] = place }
    let node = Node(
      name: "turn", operation: "Transpose", opset: 13, inputs: [id], outputs: [nil],
      attributes: ["perm": .ints(inverse)])
    guard
      let result = try Reference.evaluate(node, [constant.reshaped(ones + constant.shape)])[0]
    else { return id }
    return rewriter.add(result, name: rewriter[id].name + ":turned")
  }
}
