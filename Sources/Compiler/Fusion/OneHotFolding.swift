import Models
import Reference
import Vocabulary

/// Makes rows of a table of a product with ones and zeros: what compares a whole number with 0, 1,
/// 2 … and multiplies the answers with weights picks a row of these, and functions of single
/// elements that follow are taken of the table instead.
enum OneHotFolding {
  /// What may follow with one input.
  private static let functions: Set<String> = [
    "Abs", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Neg", "Relu",
    "Sigmoid", "Sqrt", "Tanh",
  ]
  /// What may follow with a constant for each column, or one for all.
  private static let arithmetic: Set<String> = ["Add", "Div", "Mul", "Sub"]

  static func run(_ graph: inout Graph, facts: [ValueFacts]) {
    var rewriter = Rewriter(graph)
    for index in graph.nodes.indices {
      guard let node = rewriter.nodes[index], node.domain.isEmpty, node.operation == "MatMul"
      else { continue }
      match(node, at: index, facts, &rewriter)
    }
    graph = rewriter.finish()
  }

  private static func match(
    _ product: Node, at index: Int, _ facts: [ValueFacts], _ rewriter: inout Rewriter
  ) {
    guard let cast = rewriter.single("Cast", writing: product.inputs[0]),
      cast.node.int("to", default: 0) == 1,
      let equal = rewriter.single("Equal", writing: cast.node.inputs[0]),
      let weights = rewriter.constant(product.inputs[1]), weights.shape.count == 2,
      let place = equal.node.inputs.firstIndex(where: {
        counts(rewriter.constant($0), to: weights.shape[0])
      }),
      let number = equal.node.inputs[1 - place], rewriter.constant(number) == nil,
      isWholeNumber(number, as: rewriter.constant(equal.node.inputs[place]), facts),
      var table = withZeros(weights), var end = product.outputs[0]
    else { return }
    var taken = [index, cast.index, equal.index]
    while let next = rewriter.onlyReader(of: end), let output = next.node.outputs[0],
      next.node.outputs.count == 1, let made = applied(next.node, to: end, table, rewriter)
    {
      (table, end) = (made, output)
      taken.append(next.index)
    }
    let name = "\(product.name) rows"
    rewriter.fuse(
      taken,
      into: Node(
        name: product.name, operation: "PickRows", domain: "stowage", opset: product.opset,
        inputs: [number, rewriter.add(table, name: name)], outputs: [end], attributes: [:]))
  }

  /// Whether a constant is 0, 1, 2 … along its last axis.
  private static func counts(_ tensor: Tensor?, to count: Int) -> Bool {
    guard let tensor, tensor.elementCount == count, tensor.shape.last == count, count > 1 else {
      return false
    }
    switch tensor.type {
    case .int32:
      return tensor.withElements(as: Int32.self) { $0.enumerated().allSatisfy { $0 == $1 } }
    case .int64:
      return tensor.withElements(as: Int64.self) { $0.enumerated().allSatisfy { $0 == $1 } }
    default: return false
    }
  }

  /// Whether a value has one number where the constant has its last axis.
  private static func isWholeNumber(
    _ id: ValueID, as constant: Tensor?, _ facts: [ValueFacts]
  ) -> Bool {
    guard let constant, id.index < facts.count, facts[id.index].type == constant.type,
      let shape = facts[id.index].shape, shape.count >= max(constant.shape.count, 2),
      case .fixed(1)? = shape.last
    else { return false }
    return true
  }

  /// Weights with a row of zeros behind them, for numbers that none of them stands for; nil where a
  /// product with zero would not be zero.
  private static func withZeros(_ weights: Tensor) -> Tensor? {
    guard weights.type == .float32 else { return nil }
    let elements = weights.withElements(as: Float.self) { Array($0) }
    guard elements.allSatisfy(\.isFinite) else { return nil }
    let (rows, columns) = (weights.shape[0], weights.shape[1])
    return .make(.float32, [rows + 1, columns], as: Float.self) { target in
      for index in target.indices { target[index] = index < elements.count ? elements[index] : 0 }
    }
  }

  /// A table after a node that treats each of its elements by itself; nil for other nodes.
  private static func applied(
    _ node: Node, to id: ValueID, _ table: Tensor, _ rewriter: Rewriter
  ) -> Tensor? {
    guard node.domain.isEmpty else { return nil }
    var operands: [Tensor?] = [table]
    if arithmetic.contains(node.operation), let other = rewriter.other(node, than: id),
      let constant = rewriter.constant(other), constant.type == .float32
    {
      let count = constant.elementCount
      guard count == 1 || (count == table.shape[1] && constant.shape.last == count),
        constant.shape.count <= 2 || constant.shape.dropLast().allSatisfy({ $0 == 1 })
      else { return nil }
      let flat = constant.reshaped([count])
      operands = node.inputs[0] == id ? [table, flat] : [flat, table]
    } else if !functions.contains(node.operation) || node.inputs.count != 1 {
      return nil
    }
    guard let made = try? Reference.evaluate(node, operands), let result = made.first ?? nil,
      result.shape == table.shape, result.type == .float32
    else { return nil }
    return result
  }
}
