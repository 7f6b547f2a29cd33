import Models
import Vocabulary

/// Makes integer operators of real ones between dequantised inputs and a quantised output.
///
/// Files from quantising tools compute in real numbers and say by QuantizeLinear and
/// DequantizeLinear where integers would do. Sums of integers are exact, those of real numbers are
/// not, so the result may differ by one step where a value lies as good as between two.
enum QuantizationFolding {
  static func run(_ graph: inout Graph, facts: [ValueFacts]) {
    var folding = Folding(rewriter: Rewriter(graph), facts: facts)
    for index in graph.nodes.indices {
      guard let node = folding.rewriter.nodes[index] else { continue }
      if node.operation == "QuantizeLinear" { folding.fold(quantize: node, at: index) }
    }
    for index in graph.nodes.indices {
      guard let node = folding.rewriter.nodes[index], node.domain.isEmpty else { continue }
      switch node.operation {
      case "Conv", "MatMul", "Gemm": folding.fold(real: node, at: index)
      case "MatMulInteger": folding.scale(node, at: index)
      default: continue
      }
    }
    graph = folding.rewriter.finish()
  }
}

/// Scale and zero point of a value, and what they are, where all elements share them.
struct QuantizedOperand {
  /// The integers, their scale and their zero point.
  var inputs: [ValueID?]
  /// The node that dequantises them.
  var node: Node
  var type: ElementType
}

/// A graph whose quantisation nodes are being folded.
struct Folding {
  var rewriter: Rewriter
  let facts: [ValueFacts]

  /// Folds what ends in a QuantizeLinear.
  mutating func fold(quantize node: Node, at index: Int) {
    guard node.domain.isEmpty, rewriter.scalar(node.inputs[1]) != nil,
      node.attributes["output_dtype"] == nil, let zero = zeroPoint(of: node, perTensor: true)
    else { return }
    let result = [node.inputs[1], zero]
    if lookUp(node, at: index, result) { return }
    var (end, taken, attributes) = (node.inputs[0], [index], [String: Attribute]())
    if let found = rewriter.producer(of: end), rewriter.onlyReader(of: end) != nil,
      ["Relu", "Clip"].contains(found.node.operation),
      let activation = LayerFusion.activation(found.node, rewriter)
    {
      taken.append(found.index)
      attributes = activation
      end = found.node.inputs[0]
    }
    guard let inner = rewriter.producer(of: end), rewriter.onlyReader(of: end) != nil,
      inner.node.domain.isEmpty
    else { return }
    taken.append(inner.index)
    var folded: Node?
    switch inner.node.operation {
    case "Conv": folded = convolution(inner.node)
    case "MatMul", "Gemm": folded = product(inner.node)
    case "Add", "Mul", "Sum": folded = pair(inner.node)
    case "GlobalAveragePool", "AveragePool":
      guard attributes.isEmpty, coversPlane(inner.node) else { return }
      folded = pool(inner.node, result, outputs: node.outputs)
    case let name where Self.moving.contains(name) && attributes.isEmpty:
      folded = movement(inner.node, node)
    case "Concat" where attributes.isEmpty: folded = concatenation(inner.node, node, result)
    default: return
    }
    guard var folded else { return }
    if folded.inputs.count == 9 { folded.inputs[6...7] = result[...] }
    folded.attributes.merge(attributes) { _, new in new }
    folded.outputs = node.outputs
    rewriter.fuse(taken, into: folded)
  }

  /// Folds a product or convolution of quantised operands whose result stays real.
  mutating func fold(real node: Node, at index: Int) {
    guard let folded = node.operation == "Conv" ? convolution(node) : product(node) else { return }
    // Two factors that a request brings gain nothing: their integers are not packed.
    guard rewriter.constant(folded.inputs[3]) != nil else { return }
    rewriter.fuse([index], into: folded)
  }

  // MARK: Operators

  /// Inputs 6 and 7 are left to the caller.
  private mutating func convolution(_ node: Node) -> Node? {
    guard node.inputs.count >= 2, let x = operand(node.inputs[0]),
      let w = weights(node.inputs[1], axis: 0)
    else { return nil }
    return folded(node, "QuantizedConv", x, w, bias: node.inputs.count > 2 ? node.inputs[2] : nil)
  }

  private mutating func product(_ node: Node) -> Node? {
    let isGeneral = node.operation == "Gemm"
    let isTransposed = isGeneral && node.int("transB", default: 0) != 0
    let bias = node.inputs.count > 2 ? node.inputs[2] : nil
    guard node.inputs.count >= 2, node.int("transA", default: 0) == 0,
      !isGeneral || node.float("alpha", default: 1) == 1,
      bias == nil || node.float("beta", default: 1) == 1, let x = operand(node.inputs[0]),
      let w = weights(node.inputs[1], axis: isTransposed ? 0 : 1) ?? operand(node.inputs[1])
    else { return nil }
    var result = folded(node, "QuantizedMatMul", x, w, bias: bias)
    result?.attributes = isTransposed ? ["transB": .int(1)] : [:]
    return result
  }

  private mutating func folded(
    _ node: Node, _ operation: String, _ x: QuantizedOperand, _ w: QuantizedOperand,
    bias: ValueID?
  ) -> Node? {
    var values: ValueID?
    if let bias {
      guard let real = realBias(bias) else { return nil }
      values = real
    }
    return Node(
      name: node.name, operation: operation, domain: "stowage", opset: node.opset,
      inputs: x.inputs + w.inputs + [nil, nil, values], outputs: node.outputs,
      attributes: node.attributes)
  }

  /// A sum or a product of two values of one shape.
  private mutating func pair(_ node: Node) -> Node? {
    guard node.inputs.count == 2, let left = node.inputs[0], let right = node.inputs[1],
      let a = operand(left), let b = operand(right), let shape = shape(left),
      shape == self.shape(right),
      rewriter.constant(a.inputs[0]) == nil, rewriter.constant(b.inputs[0]) == nil
    else { return nil }
    return Node(
      name: node.name, operation: node.operation == "Mul" ? "QuantizedMul" : "QuantizedAdd",
      domain: "stowage", opset: node.opset, inputs: a.inputs + b.inputs + [nil, nil, nil],
      outputs: node.outputs)
  }

  /// Whether a pool has one window, which is the whole plane.
  private func coversPlane(_ node: Node) -> Bool {
    guard node.operation == "AveragePool" else { return true }
    guard let kernel = node.ints("kernel_shape"), let x = node.inputs[0],
      let input = shape(x)?.dropFirst(2), node.string("auto_pad", default: "NOTSET") == "NOTSET"
    else { return false }
    return Array(input) == kernel.map(Dimension.fixed)
      && node.ints("pads")?.allSatisfy { $0 == 0 } ?? true
      && node.int("ceil_mode", default: 0) == 0
  }

  private mutating func pool(_ node: Node, _ result: [ValueID?], outputs: [ValueID?]) -> Node? {
    guard let x = operand(node.inputs[0]) else { return nil }
    return Node(
      name: node.name, operation: "QuantizedGlobalAveragePool", domain: "stowage",
      opset: node.opset, inputs: x.inputs + result, outputs: outputs)
  }

  /// Operators that hand on elements as they are.
  private static let moving: Set<String> = [
    "Flatten", "Identity", "MaxPool", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze",
  ]

  /// Elements that are only moved stay integers, where they mean the same before and after.
  private mutating func movement(_ node: Node, _ quantize: Node) -> Node? {
    guard node.outputs.dropFirst().allSatisfy({ $0 == nil }), let x = operand(node.inputs[0]),
      rewriter.constant(x.inputs[0]) == nil, meanTheSame(x.node, quantize)
    else { return nil }
    var moved = node
    moved.inputs[0] = x.inputs[0]
    moved.outputs = [node.outputs[0]]
    // Pools take 8-bit integers since version 12.
    moved.opset = max(node.opset, 12)
    return moved
  }

  /// Integers side by side, each expressed in the steps of the result first.
  private mutating func concatenation(
    _ node: Node, _ quantize: Node, _ result: [ValueID?]
  ) -> Node? {
    var parts: [(id: ValueID?, table: ValueID?)] = []
    for input in node.inputs {
      guard let x = operand(input), rewriter.constant(x.inputs[0]) == nil else { return nil }
      if meanTheSame(x.node, quantize) {
        parts.append((x.inputs[0], nil))
      } else {
        // The table comes in the place of the node that makes a real value, unless others read it.
        guard rewriter.onlyReader(of: input) != nil,
          let table = table([x.node, quantize], of: x.type)
        else { return nil }
        parts.append((x.inputs[0], table))
      }
    }
    var joined = node
    for (place, part) in parts.enumerated() {
      guard let table = part.table, let old = rewriter.producer(of: node.inputs[place]) else {
        joined.inputs[place] = part.id
        continue
      }
      rewriter.replace(old.index, with: lookup(old.node, part.id, table, old.node.outputs))
    }
    return joined
  }

  func lookup(
    _ node: Node, _ x: ValueID?, _ table: ValueID, _ outputs: [ValueID?]
  ) -> Node {
    Node(
      name: node.name, operation: "Lookup", domain: "stowage", opset: node.opset,
      inputs: [x, table], outputs: outputs)
  }

  /// Sums of integers that are made real, scaled, and given a bias in one pass.
  mutating func scale(_ node: Node, at index: Int) {
    guard let cast = rewriter.standardReader("Cast", of: node.outputs[0] ?? ValueID(0)),
      cast.node.int("to", default: 0) == 1,
      let product = rewriter.onlyReader(of: cast.node.outputs[0]),
      product.node.operation == "Mul", product.node.domain.isEmpty, let real = cast.node.outputs[0],
      let scale = rewriter.other(product.node, than: real), isForColumns(scale, of: real)
    else { return }
    var taken = [index, cast.index, product.index]
    var folded = Node(
      name: node.name, operation: "ScaledMatMulInteger", domain: "stowage", opset: node.opset,
      inputs: node.inputs, outputs: product.node.outputs)
    while folded.inputs.count < 4 { folded.inputs.append(nil) }
    folded.inputs.append(scale)
    if let output = product.node.outputs[0], let added = rewriter.standardReader("Add", of: output),
      let bias = rewriter.other(added.node, than: output), rewriter.constant(bias) != nil,
      isForColumns(bias, of: real)
    {
      taken.append(added.index)
      folded.inputs.append(bias)
      folded.outputs = added.node.outputs
    }
    rewriter.fuse(taken, into: folded)
  }

  /// Whether a value is one number, or one for each column of another one.
  private func isForColumns(_ id: ValueID, of product: ValueID) -> Bool {
    guard let shape = shape(id), let columns = self.shape(product)?.last else { return false }
    return shape.isEmpty || shape == [.fixed(1)] || shape == [columns]
  }
}
