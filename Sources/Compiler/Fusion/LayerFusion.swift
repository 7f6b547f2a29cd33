import Models
import Vocabulary

/// Joins convolutions and products with the bias, residual and activation that follow, and
/// normalisation with the Relu.
enum LayerFusion {
  static func run(_ graph: inout Graph, facts: [ValueFacts]) {
    var rewriter = Rewriter(graph)
    // Backwards, so that of two convolutions that are added the later one takes the sum.
    for index in graph.nodes.indices.reversed() {
      guard let node = rewriter.nodes[index], node.domain.isEmpty else { continue }
      if ["Conv", "ConvTranspose", "Gemm", "MatMul"].contains(node.operation) {
        fuse(node, at: index, facts, &rewriter)
      } else if node.operation == "BatchNormalization" {
        fuseNormalization(node, at: index, facts, &rewriter)
      }
    }
    graph = rewriter.finish()
  }

  /// A normalisation that no convolution takes in, because one comes after it, cuts at zero in the
  /// same pass over memory.
  private static func fuseNormalization(
    _ node: Node, at index: Int, _ facts: [ValueFacts], _ rewriter: inout Rewriter
  ) {
    guard let output = node.outputs.first ?? nil, output.index < facts.count,
      facts[output.index].type == .float32,
      node.outputs.dropFirst().allSatisfy({ $0 == nil }),
      let next = rewriter.standardReader("Relu", of: output)
    else { return }
    var fused = node
    fused.domain = "stowage"
    fused.operation = "FusedBatchNormalization"
    fused.attributes["activation"] = .string("Relu")
    fused.outputs = [next.node.outputs[0]]
    rewriter.fuse([index, next.index], into: fused)
  }

  /// Walks down from one node while each result has a single reader that can be taken in.
  private static func fuse(
    _ node: Node, at index: Int, _ facts: [ValueFacts], _ rewriter: inout Rewriter
  ) {
    guard let output = node.outputs.first ?? nil, output.index < facts.count,
      facts[output.index].type == .float32
    else { return }
    var fused = node
    fused.domain = "stowage"
    fused.operation = "Fused" + node.operation
    fused.inputs += Array(repeating: nil, count: max(0, 3 - node.inputs.count))
    var taken = [index]
    var end = output
    if ["Gemm", "MatMul"].contains(node.operation),
      let bias = biasAdded(to: end, fused, facts, rewriter)
    {
      fused.inputs[2] = flat(bias.value, &rewriter)
      taken.append(bias.index)
      end = bias.output
    }
    if node.operation != "ConvTranspose",
      let residual = residualAdded(to: end, at: index, facts, rewriter)
    {
      fused.inputs.append(residual.value)
      taken.append(residual.index)
      end = residual.output
    }
    if let next = rewriter.onlyReader(of: end), let result = next.node.outputs[0],
      let attributes = activation(next.node, rewriter),
      // Gemm has an alpha and a beta of its own.
      node.operation != "Gemm" || attributes.count == 1
    {
      fused.attributes.merge(attributes) { _, new in new }
      taken.append(next.index)
      end = result
    }
    while let next = rewriter.onlyReader(of: end),
      let line = scalarLine(next.node, of: end, facts, rewriter), let result = next.node.outputs[0]
    {
      let scale = fused.float("scale", default: 1) * line.scale
      fused.attributes["shift"] = .float(fused.float("shift", default: 0) * line.scale + line.shift)
      fused.attributes["scale"] = .float(scale)
      taken.append(next.index)
      end = result
    }
    // A plain matrix product stays what it is: there is nothing to be gained by another name.
    guard taken.count > 1 || node.operation != "MatMul" else { return }
    fused.outputs = [end]
    rewriter.fuse(taken, into: fused)
  }

  /// A product or a sum with one number that leaves the shape, as a line.
  private static func scalarLine(
    _ node: Node, of value: ValueID, _ facts: [ValueFacts], _ rewriter: Rewriter
  ) -> (scale: Float, shift: Float)? {
    guard node.domain.isEmpty, let (operand, scalar, isSecond) = rewriter.operandAndScalar(node),
      operand == value, let result = node.outputs[0], result.index < facts.count,
      value.index < facts.count, facts[result.index].shape != nil,
      facts[result.index].shape == facts[value.index].shape
    else { return nil }
    switch node.operation {
    case "Mul": return (scalar, 0)
    case "Add": return (1, scalar)
    case "Sub": return isSecond ? (1, -scalar) : (-1, scalar)
    case "Div" where isSecond && scalar.isNormal: return (1 / scalar, 0)
    default: return nil
    }
  }

  /// A one-dimensional constant added to the columns of a product.
  private static func biasAdded(
    to value: ValueID, _ node: Node, _ facts: [ValueFacts], _ rewriter: Rewriter
  ) -> (value: ValueID, index: Int, output: ValueID)? {
    guard node.inputs[2] == nil, let next = rewriter.onlyReader(of: value),
      next.node.operation == "Add", next.node.domain.isEmpty, next.node.inputs.count == 2,
      let output = next.node.outputs[0],
      let other = next.node.inputs.first(where: { $0 != value }) ?? nil,
      let bias = rewriter.constant(other), bias.type == .float32,
      let columns = facts[value.index].shape?.last, bias.shape.last.map(Dimension.fixed) == columns,
      bias.elementCount == bias.shape.last, bias.shape.count <= facts[value.index].shape?.count ?? 0
    else { return nil }
    return (other, next.index, output)
  }

  /// A bias without leading axes of size 1.
  private static func flat(_ bias: ValueID, _ rewriter: inout Rewriter) -> ValueID {
    guard let tensor = rewriter.constant(bias), tensor.shape.count > 1 else { return bias }
    return rewriter.add(tensor.reshaped([tensor.elementCount]), name: rewriter[bias].name)
  }

  /// A value of the same shape that is added and that a request decides.
  private static func residualAdded(
    to value: ValueID, at index: Int, _ facts: [ValueFacts], _ rewriter: Rewriter
  ) -> (value: ValueID, index: Int, output: ValueID)? {
    guard let next = rewriter.onlyReader(of: value), next.node.operation == "Add",
      next.node.domain.isEmpty, next.node.inputs.count == 2, let output = next.node.outputs[0],
      let other = next.node.inputs.first(where: { $0 != value }) ?? nil,
      rewriter.constant(other) == nil, other.index < facts.count,
      let shape = facts[value.index].shape, facts[other.index].shape == shape,
      facts[other.index].type == .float32
    else { return nil }
    return (other, next.index, output)
  }

  /// The attributes that stand for an activation, or nil when the node is none.
  static func activation(_ node: Node, _ rewriter: Rewriter) -> [String: Attribute]? {
    if node.domain == "stowage" {
      return node.operation == "Silu" ? ["activation": .string("Silu")] : nil
    }
    guard node.domain.isEmpty else { return nil }
    var attributes: [String: Attribute] = ["activation": .string(node.operation)]
    switch node.operation {
    case "Relu", "Sigmoid", "Tanh", "HardSwish", "Mish": return attributes
    case "Gelu":
      let isExact = node.string("approximate", default: "none") == "none"
      attributes["activation"] = .string(isExact ? "Gelu" : "GeluTanh")
    case "LeakyRelu": attributes["alpha"] = .float(node.float("alpha", default: 0.01))
    case "Elu": attributes["alpha"] = .float(node.float("alpha", default: 1))
    case "HardSigmoid":
      attributes["alpha"] = .float(node.float("alpha", default: 0.2))
      attributes["beta"] = .float(node.float("beta", default: 0.5))
    case "Clip":
      guard let low = bound(node, 1, "min", -.infinity, rewriter),
        let high = bound(node, 2, "max", .infinity, rewriter)
      else { return nil }
      attributes["alpha"] = .float(low)
      attributes["beta"] = .float(high)
    default: return nil
    }
    return attributes
  }

  /// A bound of Clip: an attribute before opset 11, an input since.
  private static func bound(
    _ node: Node, _ index: Int, _ name: String, _ fallback: Float, _ rewriter: Rewriter
  ) -> Float? {
    guard index < node.inputs.count, let id = node.inputs[index] else {
      return node.float(name, default: fallback)
    }
    return rewriter.constant(id)?.floats?.first
  }
}
