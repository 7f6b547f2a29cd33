import Models
import Vocabulary

extension Reference {
  /// softmax(Q·Kᵀ·scale + mask)·V over the last two axes, one standard operator after the other.
  static let fusedAttention: Operator = { (call) throws(ModelError) in
    let (query, key, value) = (try call.input(0), try call.input(1), try call.input(2))
    func apply(
      _ operation: String, _ inputs: [Tensor], _ attributes: [String: Attribute] = [:]
    ) throws(ModelError) -> Tensor {
      let node = Node(
        name: call.node.name, operation: operation, opset: 13, inputs: [], outputs: [nil],
        attributes: attributes)
      guard let result = try evaluate(node, inputs)[0] else { throw call.error("has no result.") }
      return result
    }
    let rank = key.shape.count
    guard rank >= 2 else { throw call.error("keys of shape \(key.shape) are no matrices.") }
    let turned = Array(0..<rank - 2) + [rank - 1, rank - 2]
    let scale = call.node.float("scale", default: 1)
    var scores = try apply(
      "MatMul", [query, try apply("Transpose", [key], ["perm": .ints(turned)])])
    scores = try apply("Mul", [scores, .from(reals: [Double(scale)], query.type, [])])
    if let mask = call.optional(3) { scores = try apply("Add", [scores, mask]) }
    let weights = try apply("Softmax", [scores], ["axis": .int(-1)])
    return [try apply("MatMul", [weights, value])]
  }
}
