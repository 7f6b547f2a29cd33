import Models
import Vocabulary

/// Equality within the tolerances of ONNX's own runner.
enum Comparison {
  /// Relative to the expected element.
  static let relativeTolerance = 1e-3
  /// The same for BF16: two units in the last place.
  static let bfloat16Tolerance = 0x1p-6
  /// Added to the relative tolerance.
  static let absoluteTolerance = 1e-7

  /// What differs first, or nil.
  static func difference(_ found: [Tensor], _ wanted: [Tensor]) -> String? {
    guard found.count == wanted.count else {
      return "\(found.count) outputs where \(wanted.count) are expected"
    }
    for (index, pair) in zip(found, wanted).enumerated() {
      if let difference = difference(pair.0, pair.1) { return "output \(index): \(difference)" }
    }
    return nil
  }

  private static func difference(_ found: Tensor, _ wanted: Tensor) -> String? {
    guard found.type == wanted.type else {
      return "\(found.type.rawValue) where \(wanted.type.rawValue) is expected"
    }
    guard found.shape == wanted.shape else {
      return "shape \(found.shape) where \(wanted.shape) is expected"
    }
    if found.type == .string {
      return found.strings == wanted.strings ? nil : "strings differ"
    }
    let (a, b) = (numbers(found), numbers(wanted))
    let tolerance = found.type == .bfloat16 ? bfloat16Tolerance : relativeTolerance
    guard let place = a.indices.first(where: { !isClose(a[$0], b[$0], tolerance) }) else {
      return nil
    }
    let wrong = a.indices.count { !isClose(a[$0], b[$0], tolerance) }
    return "\(wrong) of \(a.count) elements differ, the first (\(place)): "
      + "\(a[place]) where \(b[place]) is expected"
  }

  private static func isClose(_ a: Double, _ b: Double, _ tolerance: Double) -> Bool {
    if a.isNaN || b.isNaN { return a.isNaN && b.isNaN }
    if a == b { return true }
    return abs(a - b) <= absoluteTolerance + tolerance * abs(b)
  }

  private static func numbers(_ tensor: Tensor) -> [Double] {
    func converted<Element: BinaryInteger & BitwiseCopyable>(_: Element.Type) -> [Double] {
      tensor.withElements(as: Element.self) { $0.map { Double($0) } }
    }
    return switch tensor.type {
    case .bool, .uint8: converted(UInt8.self)
    case .int8: converted(Int8.self)
    case .uint16: converted(UInt16.self)
    case .int16: converted(Int16.self)
    case .uint32: converted(UInt32.self)
    case .int32: converted(Int32.self)
    case .uint64: converted(UInt64.self)
    case .int64: converted(Int64.self)
    case .float16: tensor.withElements(as: Float16.self) { $0.map { Double($0) } }
    case .bfloat16:
      tensor.withElements(as: UInt16.self) {
        $0.map { Double(Float(bitPattern: UInt32($0) << 16)) }
      }
    case .float32: tensor.withElements(as: Float.self) { $0.map { Double($0) } }
    case .float64: tensor.withElements(as: Double.self) { Array($0) }
    case .string: []
    }
  }
}
