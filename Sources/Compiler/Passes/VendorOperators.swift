import Models
import Vocabulary

/// Spells out by standard operators what onnxruntime's quantising tools write as operators of their
/// own (domain `com.microsoft`), which mean just that: dequantised inputs, one real operator, and a
/// quantised result.
///
/// Meanings: "Contrib operators" of onnxruntime's documentation.
enum VendorOperators {
  static let domain = "com.microsoft"

  /// The graph without such operators; those that are not known stay.
  static func expand(_ graph: Graph) -> Graph {
    guard graph.nodes.contains(where: { $0.domain == domain }) else { return graph }
    let opset = graph.nodes.filter(\.domain.isEmpty).map(\.opset).max() ?? 0
    // Scales for each channel came with version 13.
    var expansion = Expansion(graph: graph, opset: max(opset, 13))
    for node in graph.nodes {
      if node.domain != domain || !expansion.expand(node) { expansion.nodes.append(node) }
    }
    var result = expansion.graph
    result.nodes = expansion.nodes
    return result
  }
}

/// A graph whose nodes are being replaced, in running order.
private struct Expansion {
  var graph: Graph
  let opset: Int
  var nodes: [Node] = []

  /// Appends what a node means; whether it is known.
  mutating func expand(_ node: Node) -> Bool {
    switch node.operation {
    case "QuantizeLinear", "DequantizeLinear":
      var standard = node
      standard.domain = ""
      standard.opset = opset
      nodes.append(standard)
      return true
    case "QLinearAdd": return pair("Add", node)
    case "QLinearMul": return pair("Mul", node)
    case "QLinearSigmoid": return single("Sigmoid", node)
    case "QLinearLeakyRelu": return single("LeakyRelu", node)
    case "QLinearSoftmax": return single("Softmax", node)
    case "QLinearGlobalAveragePool": return single("GlobalAveragePool", node)
    case "QLinearAveragePool": return single("AveragePool", node)
    case "QLinearReduceMean": return single("ReduceMean", node)
    case "QLinearConcat": return joined(node)
    case "QLinearWhere": return chosen(node)
    case "QGemm": return product(node)
    case "DynamicQuantizeMatMul": return dynamicProduct(node)
    case "MatMulIntegerToFloat": return scaledProduct(node)
    default: return false
    }
  }

  // MARK: Operators

  private mutating func pair(_ operation: String, _ node: Node) -> Bool {
    guard node.inputs.count >= 7 else { return false }
    let (a, b) = (real(node, 0), real(node, 3))
    let result = append(operation, [a, b], node, role: "result")
    quantize(result, node, scale: 6)
    return true
  }

  private mutating func single(_ operation: String, _ node: Node) -> Bool {
    guard node.inputs.count >= 4, node.int("channels_last", default: 0) == 0 else { return false }
    var attributes = node.attributes
    let version = node.int("opset", default: operation == "ReduceMean" ? 13 : opset)
    attributes["opset"] = nil
    attributes["channels_last"] = nil
    let result = append(
      operation, [real(node, 0)], node, role: "result", attributes, opset: version)
    quantize(result, node, scale: 3)
    return true
  }

  private mutating func joined(_ node: Node) -> Bool {
    guard node.inputs.count >= 5, (node.inputs.count - 2) % 3 == 0 else { return false }
    let parts = stride(from: 2, to: node.inputs.count, by: 3).map { real(node, $0) }
    quantize(append("Concat", parts, node, role: "result", node.attributes), node, scale: 0)
    return true
  }

  private mutating func chosen(_ node: Node) -> Bool {
    guard node.inputs.count >= 9 else { return false }
    let (x, y) = (real(node, 1), real(node, 4))
    quantize(append("Where", [node.inputs[0], x, y], node, role: "result"), node, scale: 7)
    return true
  }

  /// A bias is kept in steps of the product of both scales.
  private mutating func product(_ node: Node) -> Bool {
    guard node.inputs.count >= 6 else { return false }
    // Scales of the weights are those of the columns.
    let isTransposed = node.int("transB", default: 0) != 0
    var inputs: [ValueID?] = [real(node, 0), real(node, 3, axis: isTransposed ? 0 : 1)]
    if node.inputs.count > 6, let bias = node.inputs[6] {
      let scale = append("Mul", [node.inputs[1], node.inputs[4]], node, role: "bias scale")
      let steps = append("Cast", [bias], node, role: "bias steps", ["to": .int(1)])
      inputs.append(append("Mul", [steps, scale], node, role: "bias"))
    }
    let hasScale = node.inputs.count > 7 && node.inputs[7] != nil
    guard hasScale else {
      nodes.append(standard("Gemm", inputs, node, node.attributes, outputs: node.outputs))
      return true
    }
    quantize(append("Gemm", inputs, node, role: "result", node.attributes), node, scale: 7)
    return true
  }

  private mutating func dynamicProduct(_ node: Node) -> Bool {
    guard node.inputs.count >= 3 else { return false }
    let names = ["steps", "scale", "zero"]
    let parts = names.map { value("\(node.name):\($0)") }
    nodes.append(standard("DynamicQuantizeLinear", [node.inputs[0]], node, outputs: parts))
    let scale = append("Mul", [parts[1], node.inputs[2]], node, role: "scale of sums")
    let (zero, bias) = (input(node, 3), input(node, 4))
    scaled(node, [parts[0], node.inputs[1], parts[2], zero], by: scale, bias)
    return true
  }

  private mutating func scaledProduct(_ node: Node) -> Bool {
    guard node.inputs.count >= 4 else { return false }
    let scale = append("Mul", [node.inputs[2], node.inputs[3]], node, role: "scale of sums")
    let operands = [node.inputs[0], node.inputs[1], input(node, 4), input(node, 5)]
    scaled(node, operands, by: scale, input(node, 6))
    return true
  }

  private mutating func scaled(
    _ node: Node, _ operands: [ValueID?], by scale: ValueID, _ bias: ValueID?
  ) {
    let sums = append("MatMulInteger", operands, node, role: "sums")
    let reals = append("Cast", [sums], node, role: "real sums", ["to": .int(1)])
    guard let bias else {
      nodes.append(standard("Mul", [reals, scale], node, outputs: node.outputs))
      return
    }
    let product = append("Mul", [reals, scale], node, role: "product")
    nodes.append(standard("Add", [product, bias], node, outputs: node.outputs))
  }

  // MARK: Parts

  private func input(_ node: Node, _ index: Int) -> ValueID? {
    index < node.inputs.count ? node.inputs[index] : nil
  }

  private mutating func real(_ node: Node, _ index: Int, axis: Int = 1) -> ValueID {
    append(
      "DequantizeLinear", [node.inputs[index], node.inputs[index + 1], input(node, index + 2)],
      node, role: "real \(index)", ["axis": .int(axis)])
  }

  private mutating func quantize(_ id: ValueID, _ node: Node, scale: Int) {
    nodes.append(
      standard(
        "QuantizeLinear", [id, node.inputs[scale], input(node, scale + 1)], node,
        outputs: node.outputs))
  }

  private mutating func append(
    _ operation: String, _ inputs: [ValueID?], _ node: Node, role: String,
    _ attributes: [String: Attribute] = [:], opset: Int? = nil
  ) -> ValueID {
    let result = value("\(node.name):\(role)")
    var made = standard(operation, inputs, node, attributes, outputs: [result])
    made.opset = opset ?? self.opset
    nodes.append(made)
    return result
  }

  private func standard(
    _ operation: String, _ inputs: [ValueID?], _ node: Node,
    _ attributes: [String: Attribute] = [:], outputs: [ValueID?]
  ) -> Node {
    Node(
      name: node.name, operation: operation, opset: opset, inputs: inputs, outputs: outputs,
      attributes: attributes)
  }

  private mutating func value(_ name: String) -> ValueID {
    graph.values.append(Value(name: name))
    return ValueID(graph.values.count - 1)
  }
}
