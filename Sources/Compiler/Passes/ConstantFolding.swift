import Models
import Reference
import Vocabulary

/// Computes at load what no request can change: nodes whose inputs are constants, and results of
/// shape computations that inference could follow.
enum ConstantFolding {
  /// Folds what can be folded; returns whether anything was.
  ///
  /// - Parameter keepsQuantized: Whether weights stay as integers with a DequantizeLinear.
  static func run(
    _ graph: inout Graph, facts: [ValueFacts], keepsQuantized: Bool = false
  ) throws(ModelError) -> Bool {
    var rewriter = Rewriter(graph)
    var budget = Limits.foldedBytes
    for (index, node) in graph.nodes.enumerated() {
      guard node.outputs.contains(where: { $0 != nil }) else { continue }
      if keepsQuantized, node.operation == "DequantizeLinear" { continue }
      if foldKnown(node, facts, &rewriter) {
        rewriter.remove(index)
        continue
      }
      let operands = node.inputs.map { rewriter.constant($0) }
      let isConstant = zip(node.inputs, operands).allSatisfy { $0 == nil || $1 != nil }
      guard isConstant, fits(node, facts, &budget) else { continue }
      guard let results = try? Reference.evaluate(node, operands) else { continue }
      for (id, tensor) in zip(node.outputs, results) {
        if let id, let tensor { rewriter.set(tensor, for: id) }
      }
      if node.outputs.allSatisfy({ $0 == nil || rewriter.constant($0) != nil }) {
        rewriter.remove(index)
      }
    }
    graph = rewriter.finish()
    return rewriter.hasChanged
  }

  /// Takes elements that inference has found.
  private static func foldKnown(
    _ node: Node, _ facts: [ValueFacts], _ rewriter: inout Rewriter
  ) -> Bool {
    var found: [(ValueID, Tensor)] = []
    for case let id? in node.outputs {
      let known = facts[id.index]
      switch known.known {
      case .tensor(let tensor)?: found.append((id, tensor))
      case .sizes(let shape, let elements)?:
        guard let numbers = elements.fixed,
          let tensor = Tensor.integers(numbers, shape: shape, type: known.type ?? .int64)
        else { return false }
        found.append((id, tensor))
      case nil: return false
      }
    }
    for (id, tensor) in found { rewriter.set(tensor, for: id) }
    return true
  }

  /// Whether the results are small enough to be kept, so that a few bytes of file cannot claim
  /// all memory.
  private static func fits(_ node: Node, _ facts: [ValueFacts], _ budget: inout Int) -> Bool {
    var total = 0
    for case let id? in node.outputs {
      guard let type = facts[id.index].type, let shape = facts[id.index].fixedShape else {
        return false
      }
      // Both factors are bounded by inference, so the product cannot overflow.
      total += shape.elementCount * (type == .string ? 16 : type.byteSize)
    }
    guard total <= budget else { return false }
    budget -= total
    return true
  }
}
