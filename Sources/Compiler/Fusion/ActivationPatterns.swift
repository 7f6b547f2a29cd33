import Models

/// Recognises activations that files spell out in several nodes.
enum ActivationPatterns {
  static func run(_ graph: inout Graph) {
    var rewriter = Rewriter(graph)
    for index in graph.nodes.indices {
      guard let node = rewriter.nodes[index], node.domain.isEmpty else { continue }
      switch node.operation {
      case "Erf": matchErrorFunction(node, at: index, &rewriter)
      case "Tanh": matchTangent(node, at: index, &rewriter)
      case "Clip": matchHardSwish(node, at: index, &rewriter)
      case "Mul": matchGate(node, at: index, &rewriter)
      default: break
      }
    }
    graph = rewriter.finish()
  }

  /// x · sigmoid(x), x · hardsigmoid(x), x · tanh(softplus(x)).
  private static func matchGate(_ node: Node, at index: Int, _ rewriter: inout Rewriter) {
    guard node.inputs.count == 2 else { return }
    for (input, gate) in [(node.inputs[0], node.inputs[1]), (node.inputs[1], node.inputs[0])] {
      guard let input else { continue }
      if let factor = rewriter.single("Sigmoid", writing: gate), factor.node.inputs == [input] {
        replace([factor.index, index], node, by: "Silu", domain: "stowage", of: input, &rewriter)
        return
      }
      if let factor = rewriter.single("HardSigmoid", writing: gate), factor.node.inputs == [input],
        Rewriter.isNear(factor.node.float("alpha", default: 0.2), 1 / 6),
        factor.node.float("beta", default: 0.5) == 0.5
      {
        replace([factor.index, index], node, by: "HardSwish", of: input, &rewriter)
        return
      }
      if let factor = rewriter.single("Tanh", writing: gate),
        let inner = rewriter.single("Softplus", writing: factor.node.inputs[0]),
        inner.node.inputs == [input]
      {
        replace([inner.index, factor.index, index], node, by: "Mish", of: input, &rewriter)
        return
      }
    }
  }

  /// x · ½ · (1 + erf(x / √2)): Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016.
  private static func matchErrorFunction(_ node: Node, at index: Int, _ rewriter: inout Rewriter) {
    guard let scaled = rewriter.producer(of: node.inputs[0]),
      rewriter.onlyReader(of: node.inputs[0]) != nil,
      let (input, factor) = rewriter.scaling(scaled.node), Rewriter.isNear(factor, 0.707_106_78)
    else { return }
    matchHalfProduct(of: input, [scaled.index, index], node, approximate: "none", &rewriter)
  }

  /// x · ½ · (1 + tanh(√(2/π) · (x + 0.044715 · x³))).
  private static func matchTangent(_ node: Node, at index: Int, _ rewriter: inout Rewriter) {
    guard let scaled = rewriter.producer(of: node.inputs[0]),
      rewriter.onlyReader(of: node.inputs[0]) != nil,
      let (sum, factor) = rewriter.scaling(scaled.node), Rewriter.isNear(factor, 0.797_884_56),
      let added = rewriter.single("Add", writing: sum), added.node.inputs.count == 2
    else { return }
    for (input, cubic) in [
      (added.node.inputs[0], added.node.inputs[1]), (added.node.inputs[1], added.node.inputs[0]),
    ] {
      guard let input, let cube = weightedCube(cubic, of: input, rewriter) else { continue }
      matchHalfProduct(
        of: input, cube + [added.index, scaled.index, index], node, approximate: "tanh", &rewriter)
      return
    }
  }

  /// The nodes that compute 0.044715 · x³, with a power or with products.
  private static func weightedCube(
    _ id: ValueID?, of input: ValueID, _ rewriter: Rewriter
  ) -> [Int]? {
    guard let last = rewriter.single("Mul", writing: id) else { return nil }
    if let (power, weight) = rewriter.scaling(last.node) {
      guard Rewriter.isNear(weight, 0.044_715), let cube = rewriter.single("Pow", writing: power),
        cube.node.inputs.count == 2, cube.node.inputs[0] == input,
        rewriter.scalar(cube.node.inputs[1]) == 3
      else { return nil }
      return [cube.index, last.index]
    }
    guard let inner = rewriter.other(last.node, than: input),
      let middle = rewriter.single("Mul", writing: inner),
      let innermost = rewriter.other(middle.node, than: input),
      let first = rewriter.single("Mul", writing: innermost),
      let (operand, weight) = rewriter.scaling(first.node), operand == input,
      Rewriter.isNear(weight, 0.044_715)
    else { return nil }
    return [first.index, middle.index, last.index]
  }

  /// The rest of both forms of GELU: 1 is added, and input and ½ are multiplied in any order.
  private static func matchHalfProduct(
    of input: ValueID, _ indices: [Int], _ node: Node, approximate: String,
    _ rewriter: inout Rewriter
  ) {
    guard let added = rewriter.standardReader("Add", of: node.outputs[0]),
      rewriter.operandAndScalar(added.node)?.scalar == 1, var end = added.node.outputs[0]
    else { return }
    var taken = indices + [added.index]
    var hasHalf = false
    var hasInput = false
    while !(hasHalf && hasInput) {
      guard let next = rewriter.standardReader("Mul", of: end),
        let factor = rewriter.other(next.node, than: end), let output = next.node.outputs[0]
      else { return }
      if !hasInput, factor == input {
        hasInput = true
      } else if !hasHalf, rewriter.scalar(factor) == 0.5 {
        hasHalf = true
      } else if !hasHalf, !hasInput, let half = rewriter.single("Mul", writing: factor),
        rewriter.scalar(rewriter.other(half.node, than: input)) == 0.5
      {
        (hasHalf, hasInput) = (true, true)
        taken.append(half.index)
      } else {
        return
      }
      taken.append(next.index)
      end = output
    }
    rewriter.fuse(
      taken,
      into: Node(
        name: node.name, operation: "Gelu", opset: max(node.opset, 20), inputs: [input],
        outputs: [end], attributes: ["approximate": .string(approximate)]))
  }

  /// x · clip(x + 3, 0, 6) / 6: Howard and others, "Searching for MobileNetV3", 2019.
  private static func matchHardSwish(_ node: Node, at index: Int, _ rewriter: inout Rewriter) {
    let low =
      node.inputs.count > 1 ? rewriter.scalar(node.inputs[1]) : node.float("min", default: -1)
    let high =
      node.inputs.count > 2 ? rewriter.scalar(node.inputs[2]) : node.float("max", default: 0)
    guard low == 0, high == 6, let added = rewriter.single("Add", writing: node.inputs[0]),
      let (input, three, _) = rewriter.operandAndScalar(added.node), three == 3,
      let first = rewriter.onlyReader(of: node.outputs[0]), let middle = first.node.outputs[0],
      let second = rewriter.onlyReader(of: middle), second.node.outputs.count == 1
    else { return }
    let isProductFirst =
      first.node.operation == "Mul"
      && rewriter.other(first.node, than: node.outputs[0] ?? input) == input
      && rewriter.scaling(second.node).map { Rewriter.isNear($0.factor, 1 / 6) } ?? false
    let isProductLast =
      second.node.operation == "Mul" && rewriter.other(second.node, than: middle) == input
      && rewriter.scaling(first.node).map { Rewriter.isNear($0.factor, 1 / 6) } ?? false
    guard first.node.domain.isEmpty, second.node.domain.isEmpty, isProductFirst || isProductLast
    else { return }
    var last = second.node
    last.name = node.name
    replace(
      [added.index, index, first.index, second.index], last, by: "HardSwish", of: input, &rewriter)
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
