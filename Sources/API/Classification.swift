import Models
import Vocabulary

/// The classification extension: the best classes of an output instead of all its numbers.
enum Classification {
  /// The `classes` highest values of each sample as strings `value:index`, highest first.
  ///
  /// A tensor of rank 2 and more is taken as samples on its first axis; ties go to the lower
  /// index. Returns nil for types without an order.
  static func best(_ classes: Int, of tensor: Tensor) -> Tensor? {
    guard tensor.type != .string, tensor.type != .bool else { return nil }
    let samples = tensor.shape.count > 1 ? tensor.shape[0] : 1
    let width = samples == 0 ? 0 : tensor.elementCount / samples
    let kept = min(classes, width)
    var strings: [[UInt8]] = []
    for sample in 0..<samples {
      let values = (0..<width).map { value(of: tensor, at: sample * width + $0) }
      let order = values.indices.sorted { left, right in
        // NaN is no winner: it sorts behind every number.
        if values[left].isNaN != values[right].isNaN { return values[right].isNaN }
        return values[left] == values[right] || values[left].isNaN
          ? left < right : values[left] > values[right]
      }
      for index in order.prefix(kept) {
        let text =
          tensor.type == .float32
          ? "\(Float(values[index])):\(index)" : "\(values[index]):\(index)"
        strings.append(Array(text.utf8))
      }
    }
    return Tensor(strings: strings, shape: tensor.shape.count > 1 ? [samples, kept] : [kept])
  }

  /// One element as a number.
  private static func value(of tensor: Tensor, at index: Int) -> Double {
    let address = tensor.storage.base + index * tensor.type.byteSize
    return withExtendedLifetime(tensor.storage) {
      switch tensor.type {
      case .uint8: Double(address.load(as: UInt8.self))
      case .uint16: Double(address.load(as: UInt16.self))
      case .uint32: Double(address.load(as: UInt32.self))
      case .uint64: Double(address.load(as: UInt64.self))
      case .int8: Double(address.load(as: Int8.self))
      case .int16: Double(address.load(as: Int16.self))
      case .int32: Double(address.load(as: Int32.self))
      case .int64: Double(address.load(as: Int64.self))
      case .float16: Double(Float16(bitPattern: address.load(as: UInt16.self)))
      case .bfloat16: Double(Float(bitPattern: UInt32(address.load(as: UInt16.self)) << 16))
      case .float32: Double(address.load(as: Float.self))
      case .float64: address.load(as: Double.self)
      case .bool, .string: .nan
      }
    }
  }
}
