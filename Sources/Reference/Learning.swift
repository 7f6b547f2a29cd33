import Models
import Vocabulary

extension Reference {
  /// Operators of the domain of classical machine learning.
  static let learning: [String: Operator] = [
    "ai.onnx.ml.ArrayFeatureExtractor": extractFeatures,
    "ai.onnx.ml.Binarizer": { (call) throws(ModelError) in
      let threshold = Double(call.node.float("threshold", default: 0))
      return try map(call) { $0 > threshold ? 1 : 0 }
    },
    "ai.onnx.ml.LabelEncoder": encodeLabels,
  ]

  /// Picks columns.
  @Sendable private static func extractFeatures(_ call: Call) throws(ModelError) -> [Tensor?] {
    let (x, picks) = (try call.input(0), try call.input(1))
    guard let size = x.shape.last else { throw call.error("a tensor with columns is needed.") }
    let columns = try checkedIndices(picks, size: size, call)
    let rows = x.elementCount / max(size, 1)
    let shape = x.shape.count == 1 ? [1] : Array(x.shape.dropLast())
    return [
      x.gathered(shape + [columns.count]) {
        rows == 0 ? nil : $0 / columns.count * size + columns[$0 % columns.count]
      }
    ]
  }

  /// Replaces every key by its value.
  @Sendable private static func encodeLabels(_ call: Call) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    guard let keys = entries(call, "keys"), let values = entries(call, "values"),
      keys.elementCount == values.elementCount
    else { throw call.error("keys and values are missing or do not fit together.") }
    let fallback = try defaultLabel(call, values)
    let both = try joined(
      [values.reshaped([values.elementCount]), fallback.reshaped([1])], axis: 0, call)
    var places: [[UInt8]: Int] = [:]
    for (place, key) in words(keys).enumerated() { places[key] = place }
    let sources = words(x).map { places[$0] ?? values.elementCount }
    return [both.gathered(x.shape) { sources[$0] }]
  }

  /// Elements in a form in which equal ones are equal: NaN too.
  private static func words(_ x: Tensor) -> [[UInt8]] {
    if x.type == .string { return x.strings }
    let texts = x.type.isReal ? x.reals().map { "\($0)" } : x.integers().map { "\($0)" }
    return texts.map { Array($0.utf8) }
  }

  private static func entries(_ call: Call, _ name: String) -> Tensor? {
    for suffix in ["tensor", "strings", "int64s", "floats"] {
      switch call.node.attributes["\(name)_\(suffix)"] {
      case .tensor(let tensor)?: return tensor
      case .strings(let words)?:
        return Tensor(strings: words.map { Array($0.utf8) }, shape: [words.count])
      case .ints(let values)?:
        return .from(integers: values.map { Int128($0) }, .int64, [values.count])
      case .floats(let values)?: return .from(floats: values, [values.count])
      default: continue
      }
    }
    return nil
  }

  private static func defaultLabel(_ call: Call, _ values: Tensor) throws(ModelError) -> Tensor {
    if case .tensor(let tensor)? = call.node.attributes["default_tensor"] {
      guard tensor.elementCount == 1 else { throw call.error("default_tensor is not one label.") }
      return tensor
    }
    switch values.type {
    case .string:
      let word = call.node.string("default_string", default: "_Unused")
      return Tensor(strings: [Array(word.utf8)], shape: [])
    case .int64:
      return .from(integers: [Int128(call.int("default_int64", default: -1))], .int64, [])
    default:
      return .from(reals: [Double(call.node.float("default_float", default: 0))], values.type, [])
    }
  }
}
