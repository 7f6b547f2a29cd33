import Models
import Reference
import Vocabulary

/// What an operator makes of the types and shapes of its inputs.
typealias ShapeRule = @Sendable (inout NodeFacts) throws(ModelError) -> Void

/// The rules of operators, by name; one that has none here and that `Reference` cannot compute is
/// refused.
enum ShapeRules {
  /// The rule for a node, or nil when its operator is not supported.
  static func rule(_ node: Node) -> ShapeRule? {
    let known = node.domain.isEmpty ? standard : node.domain == "stowage" ? fused : [:]
    if let rule = known[node.operation] { return rule }
    return Reference.knows(node.operation, domain: node.domain) ? unknownResult : nil
  }

  /// For rare operators that are computed but whose results are not foreseen.
  static func unknownResult(_ facts: inout NodeFacts) throws(ModelError) {}

  /// The error for a node without a rule.
  static func unsupported(_ node: Node) -> ModelError {
    let domain = node.domain.isEmpty ? "" : " of domain '\(node.domain)'"
    return ModelError(
      "Node '\(node.name)' uses operator \(node.operation)\(domain), opset \(node.opset), "
        + "which is not supported.")
  }

  /// Standard operators.
  static let standard: [String: ShapeRule] = [
    elementwise, movement, indexing, reductions, windows, linear, generators, recurrent, quantized,
    control, rare,
  ].reduce(into: [:]) { all, group in all.merge(group) { first, _ in first } }

  /// The same rule under several names.
  static func rules(_ groups: [(rule: ShapeRule, names: [String])]) -> [String: ShapeRule] {
    var rules: [String: ShapeRule] = [:]
    for group in groups {
      for name in group.names { rules[name] = group.rule }
    }
    return rules
  }

  /// Operators that fusion makes.
  static let fused: [String: ShapeRule] = [
    "FusedConv": conv, "FusedGemm": gemm, "FusedMatMul": matMul, "Attention": fusedAttention,
    "FusedBatchNormalization": batchNormalization, "FusedConvTranspose": convTranspose,
    "Silu": sameAsFirst, "PickRows": pickedRows,
  ].merging(foldedQuantization) { first, _ in first }
}
