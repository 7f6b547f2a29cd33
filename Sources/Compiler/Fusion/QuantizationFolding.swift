import Models
import Vocabulary

/// Makes integer operators of real ones between dequantised inputs and a quantised output.
///
/// Files from quantising tools compute in real numbers and say by QuantizeLinear and
/// DequantizeLinear where integers would do. The result may differ by one step where a value lies
/// between two.
enum QuantizationFolding {
  static func run(_ graph: inout Graph) {
    var rewriter = Rewriter(graph)
    for index in graph.nodes.indices {
      guard let node = rewriter.nodes[index], node.domain.isEmpty,
        node.operation == "QuantizeLinear", let scale = node.inputs.dropFirst().first ?? nil,
        let zero = zeroPoint(of: node, &rewriter), rewriter.scalar(scale) != nil
      else { continue }
      var end = node.inputs[0]
      var taken = [index]
      if let relu = rewriter.single("Relu", writing: end), startsAtZero(zero, rewriter) {
        taken.append(relu.index)
        end = relu.node.inputs[0]
      }
      if let conv = rewriter.single("Conv", writing: end) {
        fold(conv, node, taken, [scale, zero], asConvolution: true, &rewriter)
      } else if let product = rewriter.single("MatMul", writing: end) {
        fold(product, node, taken, [scale, zero], asConvolution: false, &rewriter)
      }
    }
    graph = rewriter.finish()
  }

  private static func fold(
    _ inner: (index: Int, node: Node), _ quantize: Node, _ taken: [Int], _ result: [ValueID],
    asConvolution: Bool, _ rewriter: inout Rewriter
  ) {
    guard inner.node.inputs.count >= 2,
      let left = rewriter.standard("DequantizeLinear", writing: inner.node.inputs[0]),
      let right = rewriter.standard("DequantizeLinear", writing: inner.node.inputs[1]),
      left.node.inputs.count >= 2, right.node.inputs.count >= 2,
      rewriter.scalar(left.node.inputs[1]) != nil,
      isUsable(right.node, asConvolution: asConvolution, rewriter),
      let leftZero = zeroPoint(of: left.node, &rewriter),
      let rightZero = zeroPoint(of: right.node, &rewriter)
    else { return }
    var integer = inner.node
    integer.operation = asConvolution ? "QLinearConv" : "QLinearMatMul"
    integer.opset = max(inner.node.opset, 10)
    integer.inputs = [
      left.node.inputs[0], left.node.inputs[1], leftZero, right.node.inputs[0],
      right.node.inputs[1], rightZero, result[0], result[1],
    ]
    if asConvolution, inner.node.inputs.count > 2, let bias = inner.node.inputs[2] {
      guard let steps = integerBias(bias, left.node, right.node, &rewriter) else { return }
      integer.inputs.append(steps)
    }
    integer.outputs = quantize.outputs
    rewriter.fuse(taken + [inner.index], into: integer)
  }

  /// Whether weights have one scale, or one for each output channel of a convolution.
  private static func isUsable(_ node: Node, asConvolution: Bool, _ rewriter: Rewriter) -> Bool {
    guard let scale = rewriter.constant(node.inputs[1]), scale.type == .float32,
      let weights = rewriter.constant(node.inputs[0]), [.int8, .uint8].contains(weights.type)
    else { return rewriter.scalar(node.inputs[1]) != nil && !asConvolution }
    if scale.elementCount == 1 { return true }
    return asConvolution && scale.shape == [weights.shape[0]]
      && node.int("axis", default: 1) == 0
  }

  /// The zero point of a node; one of zeros is made where it is left out.
  private static func zeroPoint(of node: Node, _ rewriter: inout Rewriter) -> ValueID? {
    if node.inputs.count > 2, let given = node.inputs[2] {
      guard let tensor = rewriter.constant(given), [.int8, .uint8].contains(tensor.type) else {
        return nil
      }
      return given
    }
    guard node.inputs.count > 1, let scale = rewriter.constant(node.inputs[1]) else { return nil }
    let source = node.operation == "QuantizeLinear" ? nil : node.inputs[0]
    let type = source.flatMap { rewriter[$0].constant?.type ?? rewriter[$0].type } ?? .uint8
    guard type == .int8 || type == .uint8 else { return nil }
    let zeros = Tensor.make(type, scale.shape, as: UInt8.self) { _ in }
    return rewriter.add(zeros, name: "\(node.name):zero")
  }

  /// Whether nothing below zero can be said, so that Relu changes nothing.
  private static func startsAtZero(_ zero: ValueID, _ rewriter: Rewriter) -> Bool {
    guard let tensor = rewriter.constant(zero) else { return false }
    return tensor.integers()?.allSatisfy { $0 == (tensor.type == .uint8 ? 0 : -128) } ?? false
  }

  /// A bias in steps of the product of both scales.
  private static func integerBias(
    _ bias: ValueID, _ left: Node, _ right: Node, _ rewriter: inout Rewriter
  ) -> ValueID? {
    if let node = rewriter.standard("DequantizeLinear", writing: bias)?.node,
      rewriter.constant(node.inputs[0])?.type == .int32
    {
      return node.inputs[0]
    }
    guard let values = rewriter.constant(bias)?.floats, let scale = rewriter.scalar(left.inputs[1]),
      let weightScales = rewriter.constant(right.inputs[1])?.floats
    else { return nil }
    var steps: [Int] = []
    for (channel, value) in values.enumerated() {
      let step = scale * weightScales[weightScales.count == 1 ? 0 : channel]
      let count = (value / step).rounded(.toNearestOrEven)
      guard abs(count) < Float(1 << 30) else { return nil }
      steps.append(Int(count))
    }
    guard let tensor = Tensor.integers(steps, shape: [steps.count], type: .int32) else {
      return nil
    }
    return rewriter.add(tensor, name: rewriter[bias].name + ":steps")
  }
}
