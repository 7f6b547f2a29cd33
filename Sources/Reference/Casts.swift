import Glibc
import Models
import Vocabulary

extension Reference {
  /// Changes of the element type.
  static let casts: [String: Operator] = [
    "Cast": { (call) throws(ModelError) in
      let x = try call.input(0)
      return [try cast(x, to: try castTarget(call, "to", fallback: nil), call)]
    },
    "CastLike": { (call) throws(ModelError) in
      let (x, like) = (try call.input(0), try call.input(1))
      return [try cast(x, to: like.type, call)]
    },
  ]

  /// The element type behind a number of the ONNX format.
  static func castTarget(
    _ call: Call, _ attribute: String, fallback: ElementType?
  ) throws(ModelError) -> ElementType {
    let number = call.int(attribute, default: 0)
    if number == 0, let fallback { return fallback }
    let types: [Int: ElementType] = [
      1: .float32, 2: .uint8, 3: .int8, 4: .uint16, 5: .int16, 6: .int32, 7: .int64, 8: .string,
      9: .bool, 10: .float16, 11: .float64, 12: .uint32, 13: .uint64, 16: .bfloat16,
    ]
    guard let type = types[number] else {
      throw call.error("element type \(number) is not supported.")
    }
    return type
  }

  static func cast(_ x: Tensor, to type: ElementType, _ call: Call) throws(ModelError) -> Tensor {
    if x.type == type { return x }
    if x.type == .string { return try parsed(x, type, call) }
    if type == .string {
      let texts = x.type.isReal ? x.reals().map(text) : x.integers().map { "\($0)" }
      return Tensor(strings: texts.map { Array($0.utf8) }, shape: x.shape)
    }
    if type == .bool { return .from(truths: x.truths(), x.shape) }
    return x.type.isReal
      ? .from(reals: x.reals(), type, x.shape) : .from(integers: x.integers(), type, x.shape)
  }

  private static func parsed(
    _ x: Tensor, _ type: ElementType, _ call: Call
  ) throws(ModelError) -> Tensor {
    var values: [Double] = []
    for bytes in x.strings {
      let word = String(decoding: bytes, as: UTF8.self)
      guard let value = Double(word) else { throw call.error("'\(word)' is not a number.") }
      values.append(value)
    }
    return .from(reals: values, type, x.shape)
  }

  /// As numpy prints it: the shortest text that reads back as the same float.
  private static func text(_ value: Double) -> String {
    if value.isNaN { return "NaN" }
    if value.isInfinite { return value < 0 ? "-INF" : "INF" }
    let shortest = "\(Float(value))"
    return shortest.hasSuffix(".0") ? String(shortest.dropLast(2)) : shortest
  }
}
