import Models
import Vocabulary

/// Equality within the tolerances of ONNX's own runner, or somewhat wider ones.
struct Comparison {
  /// Relative to the expected element.
  private static let relativeTolerance = 1e-3
  /// The same for BF16: two units in the last place.
  private static let bfloat16Tolerance = 0x1p-6
  /// The same for FP16 after several operators, each of which rounds.
  private static let chainedFloat16Tolerance = 1e-2
  /// Added to the relative tolerance.
  private static let absoluteTolerance = 1e-7

  /// Added to the absolute tolerance: a share of the largest element of a real output, for chains
  /// of operators in which a small element is the difference of large ones.
  var shareOfLargest = 0.0

  /// What differs first, or nil.
  func difference(_ found: [Tensor], _ wanted: [Tensor]) -> String? {
    guard found.count == wanted.count else {
      return "\(found.count) outputs where \(wanted.count) are expected"
    }
    for (index, pair) in zip(found, wanted).enumerated() {
      if let difference = difference(pair.0, pair.1) { return "output \(index): \(difference)" }
    }
    return nil
  }

  private func difference(_ found: Tensor, _ wanted: Tensor) -> String? {
    guard found.type == wanted.type else {
      return "\(found.type.rawValue) where \(wanted.type.rawValue) is expected"
    }
    guard found.shape == wanted.shape else {
      return "shape \(found.shape) where \(wanted.shape) is expected"
    }
    if found.type == .string {
      return found.strings == wanted.strings ? nil : "strings differ"
    }
    let (a, b) = (Self.numbers(found), Self.numbers(wanted))
    let relative = relativeTolerance(found.type)
    let largest = b.reduce(0) { $1.isFinite ? max($0, abs($1)) : $0 }
    let absolute = Self.absoluteTolerance + share(found.type) * largest
    let wrong = a.indices.filter { !Self.isClose(a[$0], b[$0], relative, absolute) }
    guard let place = wrong.first else { return nil }
    return "\(wrong.count) of \(a.count) elements differ, the first (\(place)): "
      + "\(a[place]) where \(b[place]) is expected"
  }

  private func share(_ type: ElementType) -> Double {
    switch type {
    case .float32, .float64: shareOfLargest
    case .float16, .bfloat16: shareOfLargest > 0 ? relativeTolerance(type) : 0
    default: 0
    }
  }

  private func relativeTolerance(_ type: ElementType) -> Double {
    switch type {
    case .bfloat16: Self.bfloat16Tolerance
    case .float16 where shareOfLargest > 0: Self.chainedFloat16Tolerance
    default: Self.relativeTolerance
    }
  }

  private static func isClose(
    _ a: Double, _ b: Double, _ relative: Double, _ absolute: Double
  ) -> Bool {
    if a.isNaN || b.isNaN { return a.isNaN && b.isNaN }
    if a == b { return true }
    return abs(a - b) <= absolute + relative * abs(b)
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
