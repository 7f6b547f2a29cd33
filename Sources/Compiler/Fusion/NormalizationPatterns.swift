import Models
import Vocabulary

/// Recognises layer normalisation that files spell out.
///
/// Source: Ba, Kiros and Hinton, "Layer Normalization", 2016: (x - mean) / √(variance + ε), scaled
/// and shifted, over the last axes.
enum NormalizationPatterns {
  static func run(_ graph: inout Graph, facts: [ValueFacts]) {
    var rewriter = Rewriter(graph)
    for index in graph.nodes.indices {
      guard let node = rewriter.nodes[index], node.domain.isEmpty, node.operation == "Div" else {
        continue
      }
      match(node, at: index, facts, &rewriter)
    }
    graph = rewriter.finish()
  }

  private static func match(
    _ node: Node, at index: Int, _ facts: [ValueFacts], _ rewriter: inout Rewriter
  ) {
    guard let centred = node.inputs[0], let root = rewriter.single("Sqrt", writing: node.inputs[1]),
      let added = rewriter.single("Add", writing: root.node.inputs[0]),
      let (variance, epsilon, _) = rewriter.operandAndScalar(added.node),
      let averaged = rewriter.single("ReduceMean", writing: variance),
      let squared = rewriter.onlyReader(of: averaged.node.inputs[0]).flatMap({ _ in
        rewriter.producer(of: averaged.node.inputs[0])
      }),
      isSquare(squared.node, of: centred, rewriter),
      let difference = rewriter.standard("Sub", writing: centred),
      Set(rewriter.readers(of: centred)) == [index, squared.index], !rewriter.isOutput(centred),
      let input = difference.node.inputs[0],
      let mean = rewriter.single("ReduceMean", writing: difference.node.inputs[1]),
      mean.node.inputs[0] == input, input.index < facts.count, let shape = facts[input.index].shape,
      facts[input.index].type == .float32,
      let axis = firstAxis(mean.node, shape.count, rewriter),
      axis == firstAxis(averaged.node, shape.count, rewriter),
      let normalized = Array(shape[axis...]).fixed
    else { return }
    var taken = [
      mean.index, difference.index, squared.index, averaged.index, added.index, root.index, index,
    ]
    var end = node.outputs[0]
    var parameters: [ValueID] = []
    for (operation, neutral) in [("Mul", Float(1)), ("Add", 0)] {
      if let value = end, let next = rewriter.standardReader(operation, of: value),
        let other = rewriter.other(next.node, than: value), let constant = rewriter.constant(other),
        let elements = constant.floats, let result = next.node.outputs[0],
        trimmed(constant.shape) == trimmed(normalized), elements.count == normalized.elementCount
      {
        parameters.append(
          rewriter.add(constant.reshaped(normalized), name: "\(node.name):\(operation)"))
        taken.append(next.index)
        end = result
      } else {
        let elements = [Float](repeating: neutral, count: normalized.elementCount)
        parameters.append(
          rewriter.add(.floats(elements, shape: normalized), name: "\(node.name):\(operation)"))
      }
    }
    rewriter.fuse(
      taken,
      into: Node(
        name: node.name, operation: "LayerNormalization", opset: max(node.opset, 17),
        inputs: [input] + parameters, outputs: [end],
        attributes: ["axis": .int(axis - shape.count), "epsilon": .float(epsilon)]))
  }

  private static func isSquare(_ node: Node, of value: ValueID, _ rewriter: Rewriter) -> Bool {
    guard node.domain.isEmpty, node.inputs.count == 2, node.inputs[0] == value else { return false }
    switch node.operation {
    case "Pow": return rewriter.constant(node.inputs[1])?.firstNumber == 2
    case "Mul": return node.inputs[1] == value
    default: return false
    }
  }

  /// The first of the axes that a mean is taken over, when they are the last ones and stay as 1.
  private static func firstAxis(_ node: Node, _ rank: Int, _ rewriter: Rewriter) -> Int? {
    let given =
      node.ints("axes")
      ?? (node.inputs.count > 1 ? rewriter.constant(node.inputs[1])?.integers() : nil)
    guard let axes = given?.map({ $0 < 0 ? $0 + rank : $0 }).sorted(), let first = axes.first,
      axes == Array(first..<rank), node.int("keepdims", default: 1) != 0
    else { return nil }
    return first
  }

  private static func trimmed(_ shape: [Int]) -> [Int] { Array(shape.drop { $0 == 1 }) }
}

extension Tensor {
  /// The only element of a scalar of any common type.
  fileprivate var firstNumber: Float? {
    guard elementCount == 1 else { return nil }
    return floats?.first ?? integers()?.first.map(Float.init)
  }
}
