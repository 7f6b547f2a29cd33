import Models
import Vocabulary

extension ShapeRules {
  static let generators: [String: ShapeRule] = [
    "Constant": constant, "ConstantOfShape": constantOfShape, "Range": range, "EyeLike": eyeLike,
  ]

  static func constant(_ facts: inout NodeFacts) throws(ModelError) {
    guard let tensor = try constantTensor(facts.node) else {
      throw facts.refusal("has no value that is supported")
    }
    facts.set(0, tensor.type, tensor.shape.map(Dimension.fixed), known: .tensor(tensor))
  }

  /// The tensor that a Constant node holds, whichever attribute gives it.
  static func constantTensor(_ node: Node) throws(ModelError) -> Tensor? {
    for name in node.attributes.keys {
      switch (name, node.attributes[name]) {
      case ("value", .tensor(let tensor)): return tensor
      case ("value_int", .int(let value)): return .int64s([value], shape: [])
      case ("value_ints", .ints(let values)): return .int64s(values)
      case ("value_float", .float(let value)): return .floats([value], shape: [])
      case ("value_floats", .floats(let values)): return .floats(values, shape: [values.count])
      case ("value_string", .string(let value)):
        return Tensor(strings: [Array(value.utf8)], shape: [])
      case ("value_strings", .strings(let values)):
        return Tensor(strings: values.map { Array($0.utf8) }, shape: [values.count])
      default: break
      }
    }
    return nil
  }

  static func constantOfShape(_ facts: inout NodeFacts) throws(ModelError) {
    var type = ElementType.float32
    if case .tensor(let value)? = facts.node.attributes["value"] { type = value.type }
    guard let shape = facts.knownSizes(0) else {
      let rank = facts.shape(0)?.fixed?.first
      facts.set(0, type, rank.map { facts.unknown(min($0, Limits.tensorRank + 1)) })
      return
    }
    facts.set(0, type, shape)
    // A vector of ones is how exporters spell the shape that Expand is given for new axes.
    guard case .tensor(let value)? = facts.node.attributes["value"],
      let element = value.integers(atMost: 1)?.first, let fixed = shape.fixed,
      fixed.count == 1, fixed[0] >= 0, fixed[0] <= Limits.tensorRank
    else { return }
    facts.outputs[0].known = .sizes(
      shape: fixed, Array(repeating: .fixed(element), count: fixed[0]))
  }

  static func range(_ facts: inout NodeFacts) throws(ModelError) {
    let name = "\(facts.node.name):0.0"
    guard let start = facts.knownSizes(0)?.first, let limit = facts.knownSizes(1)?.first,
      case .fixed(let step)? = facts.knownSizes(2)?.first
    else {
      if let start = facts.knownFloats(0)?.first, let limit = facts.knownFloats(1)?.first,
        let step = facts.knownFloats(2)?.first, step != 0
      {
        let count = ((limit - start) / step).rounded(.up)
        let bounded = count > 0 && count < Float(SizeAlgebra.huge) ? Int(count) : 0
        facts.set(0, facts.type(0), [.fixed(bounded)])
        return
      }
      facts.set(0, facts.type(0), [.symbol(name)])
      return
    }
    guard step != 0 else { throw facts.refusal("has a step of 0") }
    let distance = facts.sizes.subtract(limit, start)
    guard step > 0 else {
      let count = facts.sizes.divideRoundingUp(
        facts.sizes.subtract(start, limit), by: .fixed(max(-step, 1)))
      facts.set(0, facts.type(0), [clamped(count)])
      return
    }
    let count = facts.sizes.divideRoundingUp(distance, by: .fixed(step))
    facts.set(0, facts.type(0), [clamped(count)])
  }

  private static func clamped(_ count: Dimension) -> Dimension {
    if case .fixed(let size) = count { .fixed(max(size, 0)) } else { count }
  }

  static func eyeLike(_ facts: inout NodeFacts) throws(ModelError) {
    let code = facts.node.int("dtype", default: 0)
    let type = code == 0 ? facts.type(0) : try ElementType(onnx: code)
    facts.set(0, type, facts.shape(0))
  }
}
