import Models
import Vocabulary

extension ShapeRules {
  static let quantized: [String: ShapeRule] = [
    "QuantizeLinear": quantize, "DequantizeLinear": dequantize,
    "DynamicQuantizeLinear": dynamicQuantize, "QLinearConv": quantizedConv,
    "QLinearMatMul": quantizedMatMul, "ConvInteger": conv, "MatMulInteger": matMulInteger,
  ]

  static func quantize(_ facts: inout NodeFacts) throws(ModelError) {
    let code = facts.node.int("output_dtype", default: 0)
    let type = code == 0 ? facts.type(2) ?? .uint8 : try ElementType(onnx: code)
    facts.set(0, facts.has(2) ? facts.type(2) : type, facts.shape(0))
  }

  static func dequantize(_ facts: inout NodeFacts) throws(ModelError) {
    let code = facts.node.int("output_dtype", default: 0)
    facts.set(0, code == 0 ? facts.type(1) : try ElementType(onnx: code), facts.shape(0))
  }

  static func dynamicQuantize(_ facts: inout NodeFacts) throws(ModelError) {
    facts.set(0, .uint8, facts.shape(0))
    facts.set(1, .float32, [])
    facts.set(2, .uint8, [])
  }

  /// The operands of QLinearConv stand at 0 and 3, with scales and zero points between them.
  static func quantizedConv(_ facts: inout NodeFacts) throws(ModelError) {
    guard facts.inputs.count >= 8 else { throw facts.refusal("needs 8 inputs or more") }
    var plain = NodeFacts(facts.node, [facts.inputs[0], facts.inputs[3]], facts.sizes)
    try conv(&plain)
    facts.set(0, facts.type(7), plain.outputs.first?.shape)
  }

  static func quantizedMatMul(_ facts: inout NodeFacts) throws(ModelError) {
    guard facts.inputs.count >= 8 else { throw facts.refusal("needs 8 inputs") }
    facts.set(0, facts.type(7), try matMulShape(facts, facts.shape(0), facts.shape(3)))
  }

  static func matMulInteger(_ facts: inout NodeFacts) throws(ModelError) {
    facts.set(0, .int32, try matMulShape(facts, facts.shape(0), facts.shape(1)))
  }

  /// What folding makes of real operators between quantisation nodes.
  static let foldedQuantization: [String: ShapeRule] = [
    "QuantizedConv": quantizedConvOrReal, "QuantizedMatMul": foldedProduct,
    "QuantizedAdd": foldedPair, "QuantizedMul": foldedPair,
    "QuantizedGlobalAveragePool": { (facts) throws(ModelError) in
      try globalPool(&facts)
      facts.set(0, facts.type(4), facts.outputs.first?.shape)
    },
    "Lookup": { (facts) throws(ModelError) in facts.set(0, facts.type(1), facts.shape(0)) },
    "ScaledMatMulInteger": { (facts) throws(ModelError) in
      facts.set(0, .float32, try matMulShape(facts, facts.shape(0), facts.shape(1)))
    },
  ]

  private static func quantizedConvOrReal(_ facts: inout NodeFacts) throws(ModelError) {
    try quantizedConv(&facts)
    facts.set(0, facts.has(7) ? facts.type(7) : .float32, facts.outputs.first?.shape)
  }

  private static func foldedProduct(_ facts: inout NodeFacts) throws(ModelError) {
    var right = facts.shape(3)
    if facts.node.int("transB", default: 0) != 0 { right?.reverse() }
    facts.set(
      0, facts.has(7) ? facts.type(7) : .float32, try matMulShape(facts, facts.shape(0), right))
  }

  private static func foldedPair(_ facts: inout NodeFacts) throws(ModelError) {
    guard let left = facts.shape(0), let right = facts.shape(3) else {
      facts.set(0, facts.type(7), nil)
      return
    }
    facts.set(0, facts.type(7), try facts.broadcast(left, right))
  }
}
