import Models
import Vocabulary

/// Removes nodes that hand on their input unchanged, and spells some others more simply.
enum Simplification {
  /// Simplifies what can be; returns whether anything was.
  static func run(_ graph: inout Graph, facts: [ValueFacts]) -> Bool {
    var rewriter = Rewriter(graph)
    for index in graph.nodes.indices {
      guard let node = rewriter.nodes[index], node.domain.isEmpty else { continue }
      simplify(node, at: index, facts, &rewriter)
    }
    graph = rewriter.finish()
    return rewriter.hasChanged
  }

  private static func simplify(
    _ node: Node, at index: Int, _ facts: [ValueFacts], _ rewriter: inout Rewriter
  ) {
    guard let input = node.inputs.first ?? nil, let output = node.outputs.first ?? nil else {
      return
    }
    let hasOtherOutputs = node.outputs.dropFirst().contains { id in
      id.map { !rewriter.readers(of: $0).isEmpty || rewriter.isOutput($0) } ?? false
    }
    if !hasOtherOutputs, isUnchanged(node, input, output, facts, rewriter) {
      if rewriter.redirect(output, to: input) { rewriter.remove(index) }
      return
    }
    if node.operation == "Transpose" { joinTransposes(node, at: index, rewriter: &rewriter) }
    if node.operation == "Reshape" { fixTarget(node, at: index, facts, &rewriter) }
    if node.operation == "Sum", node.inputs.count == 2 {
      var sum = node
      sum.operation = "Add"
      rewriter.replace(index, with: sum)
    }
  }

  /// Whether the output always has the elements and the shape of the first input.
  private static func isUnchanged(
    _ node: Node, _ input: ValueID, _ output: ValueID, _ facts: [ValueFacts], _ rewriter: Rewriter
  ) -> Bool {
    // A value that a rewrite added during this run has no facts yet.
    guard input.index < facts.count, output.index < facts.count else { return false }
    let from = facts[input.index]
    let to = facts[output.index]
    switch node.operation {
    case "Identity": return true
    case "Dropout":
      if node.opset < 12 { return true }
      let training = node.inputs.count > 2 ? node.inputs[2] : nil
      return training == nil || rewriter.constant(training)?.integers() == [0]
    case "Cast", "CastLike": return from.type != nil && from.type == to.type
    case "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand":
      return from.shape != nil && from.shape == to.shape
    case "Transpose":
      guard let order = node.ints("perm") else { return from.shape.map { $0.count < 2 } ?? false }
      return order == Array(order.indices)
    case "Concat", "Sum", "Max", "Min", "Mean": return node.inputs.count == 1
    case "Mul", "Div", "Add", "Sub":
      guard let (operand, scalar, isSecond) = rewriter.operandAndScalar(node), operand == input,
        isSecond, from.shape != nil, from.shape == to.shape
      else { return false }
      return scalar == (node.operation == "Mul" || node.operation == "Div" ? 1 : 0)
    case "Pad": return from.shape != nil && from.shape == to.shape && isAllZero(node, rewriter)
    case "Slice":
      return from.fixedShape != nil && from.shape == to.shape && isForward(node, rewriter)
    default: return false
    }
  }

  private static func isAllZero(_ node: Node, _ rewriter: Rewriter) -> Bool {
    let pads =
      node.ints("pads")
      ?? (node.inputs.count > 1 ? rewriter.constant(node.inputs[1])?.integers() : nil)
    return pads?.allSatisfy { $0 == 0 } ?? false
  }

  private static func isForward(_ node: Node, _ rewriter: Rewriter) -> Bool {
    guard node.inputs.count > 4, let steps = node.inputs[4] else { return true }
    return rewriter.constant(steps)?.integers()?.allSatisfy { $0 > 0 } ?? false
  }

  /// Writes a target that is computed from shapes as a constant, where copied dimensions and one
  /// open one can say it.
  private static func fixTarget(
    _ node: Node, at index: Int, _ facts: [ValueFacts], _ rewriter: inout Rewriter
  ) {
    guard node.inputs.count == 2, let input = node.inputs[0], let target = node.inputs[1],
      rewriter.constant(target) == nil, target.index < facts.count, input.index < facts.count,
      let from = facts[input.index].shape, let wanted = facts[target.index].known?.sizes,
      node.int("allowzero", default: 0) == 0
    else { return }
    var constant: [Int] = []
    for (axis, size) in wanted.enumerated() {
      if case .fixed(let number) = size {
        constant.append(number)
      } else if axis < from.count, from[axis] == size {
        constant.append(0)
      } else {
        constant.append(-1)
      }
    }
    guard constant.filter({ $0 == -1 }).count <= 1, !wanted.contains(.fixed(0)) else { return }
    var fixed = node
    fixed.inputs[1] = rewriter.add(.int64s(constant), name: "\(node.name):target")
    rewriter.replace(index, with: fixed)
  }

  /// Makes one transposition of two in a row.
  private static func joinTransposes(
    _ node: Node, at index: Int, rewriter: inout Rewriter
  ) {
    guard let first = rewriter.producer(of: node.inputs[0]), first.node.operation == "Transpose",
      first.node.domain.isEmpty, let source = first.node.inputs[0],
      let inner = first.node.ints("perm"), let outer = node.ints("perm"),
      inner.count == outer.count
    else { return }
    var joined = node
    joined.inputs = [source]
    joined.attributes["perm"] = .ints(outer.map { inner[$0] })
    rewriter.replace(index, with: joined)
  }
}
