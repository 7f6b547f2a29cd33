import Models
import Vocabulary

extension ElementType {
  /// Whether elements are real numbers.
  var isReal: Bool {
    switch self {
    case .float16, .bfloat16, .float32, .float64: true
    default: false
    }
  }

  /// The numbers that an integer type holds.
  var integerBounds: ClosedRange<Int128> {
    let bits = Int128(8 * byteSize)
    return switch self {
    case .bool: 0...1
    case .uint8, .uint16, .uint32, .uint64: 0...(Int128(1) << bits) - 1
    default: -(Int128(1) << (bits - 1))...(Int128(1) << (bits - 1)) - 1
    }
  }
}

extension Tensor {
  /// The elements as doubles, whatever their type; booleans are 0 and 1.
  func reals() -> [Double] {
    switch type {
    case .float32: withElements(as: Float.self) { $0.map { Double($0) } }
    case .float64: withElements(as: Double.self) { Array($0) }
    case .float16: withElements(as: Float16.self) { $0.map { Double($0) } }
    case .bfloat16:
      withElements(as: UInt16.self) { $0.map { Double(Float(bitPattern: UInt32($0) << 16)) } }
    default: integers().map { Double($0) }
    }
  }

  /// The elements as floats; exact for FP32, FP16 and BF16.
  func floats() -> [Float] {
    type == .float32 ? withElements(as: Float.self) { Array($0) } : reals().map(Float.init)
  }

  /// The elements of an integer or boolean tensor; real numbers are cut towards zero.
  func integers() -> [Int128] {
    switch type {
    case .bool, .uint8: withElements(as: UInt8.self) { $0.map { Int128($0) } }
    case .int8: withElements(as: Int8.self) { $0.map { Int128($0) } }
    case .uint16: withElements(as: UInt16.self) { $0.map { Int128($0) } }
    case .int16: withElements(as: Int16.self) { $0.map { Int128($0) } }
    case .uint32: withElements(as: UInt32.self) { $0.map { Int128($0) } }
    case .int32: withElements(as: Int32.self) { $0.map { Int128($0) } }
    case .uint64: withElements(as: UInt64.self) { $0.map { Int128($0) } }
    case .int64: withElements(as: Int64.self) { $0.map { Int128($0) } }
    // Strings where numbers are needed count as 0, so that there are as many as elements.
    case .string: [Int128](repeating: 0, count: elementCount)
    default: reals().map { Int128(truncatingToward: $0) }
    }
  }

  /// The elements of an integer tensor that names sizes, places or axes.
  func sizes() -> [Int] { integers().map { Int(clamping: $0).asSize } }

  /// The elements as truth values: anything but zero is true.
  func truths() -> [Bool] {
    type.isReal ? reals().map { $0 != 0 } : integers().map { $0 != 0 }
  }

  /// Rounds doubles to a real type, or cuts them to an integer type.
  static func from(reals values: [Double], _ type: ElementType, _ shape: [Int]) -> Tensor {
    switch type {
    case .float32: fill(type, shape, values) { Float($0) }
    case .float64: fill(type, shape, values) { $0 }
    case .float16: fill(type, shape, values) { Float16($0) }
    case .bfloat16: fill(type, shape, values) { bfloat16Bits(Float($0)) }
    default: from(integers: values.map { Int128(truncatingToward: $0) }, type, shape)
    }
  }

  /// Truncates integers to an integer type, or converts them to a real type.
  static func from(integers values: [Int128], _ type: ElementType, _ shape: [Int]) -> Tensor {
    switch type {
    case .bool: fill(type, shape, values) { $0 != 0 ? UInt8(1) : 0 }
    case .uint8: fill(type, shape, values) { UInt8(truncatingIfNeeded: $0) }
    case .int8: fill(type, shape, values) { Int8(truncatingIfNeeded: $0) }
    case .uint16: fill(type, shape, values) { UInt16(truncatingIfNeeded: $0) }
    case .int16: fill(type, shape, values) { Int16(truncatingIfNeeded: $0) }
    case .uint32: fill(type, shape, values) { UInt32(truncatingIfNeeded: $0) }
    case .int32: fill(type, shape, values) { Int32(truncatingIfNeeded: $0) }
    case .uint64: fill(type, shape, values) { UInt64(truncatingIfNeeded: $0) }
    case .int64: fill(type, shape, values) { Int64(truncatingIfNeeded: $0) }
    case .string: Tensor(strings: values.map { Array("\($0)".utf8) }, shape: shape)
    default: from(reals: values.map { Double($0) }, type, shape)
    }
  }

  /// Truth values as a BOOL tensor.
  static func from(truths values: [Bool], _ shape: [Int]) -> Tensor {
    fill(.bool, shape, values) { $0 ? UInt8(1) : 0 }
  }

  /// Floats as an FP32 tensor.
  static func from(floats values: [Float], _ shape: [Int]) -> Tensor {
    fill(.float32, shape, values) { $0 }
  }

  /// Moves whole elements: output element `i` is input element `source(i)`, or zero bytes for nil.
  func gathered(_ shape: [Int], _ source: (Int) -> Int?) -> Tensor {
    if type == .string {
      return Tensor(
        strings: (0..<shape.elementCount).map { source($0).map { strings[$0] } ?? [] }, shape: shape
      )
    }
    let width = type.byteSize
    let (result, elementCount) = (Tensor.make(type, shape, as: width), elementCount)
    for index in 0..<shape.elementCount {
      guard let from = source(index) else { continue }
      precondition(from >= 0 && from < elementCount)
      (result.storage.base + index * width)
        .copyMemory(from: storage.base + from * width, byteCount: width)
    }
    return result
  }

  private static func make(_ type: ElementType, _ shape: [Int], as byteSize: Int) -> Tensor {
    Tensor(
      type: type, shape: shape, storage: TensorStorage(byteCount: shape.elementCount * byteSize))
  }

  private static func fill<Source, Element: BitwiseCopyable>(
    _ type: ElementType, _ shape: [Int], _ values: [Source], _ convert: (Source) -> Element
  ) -> Tensor {
    make(type, shape, as: Element.self) { elements in
      for index in elements.indices { elements[index] = convert(values[index]) }
    }
  }
}

extension Int128 {
  /// Cuts towards zero; NaN becomes 0 and what is too large the largest Int64.
  init(truncatingToward value: Double) {
    self =
      value.isNaN ? 0 : Int128(Swift.max(-9.3e18, Swift.min(value, 1.9e19)).rounded(.towardZero))
  }
}

/// A whole number as a size; what no size can be becomes the nearest that can, NaN 0.
func whole(_ value: Double) -> Int { Int(clamping: Int128(truncatingToward: value)).asSize }

/// The nearest BF16, ties to even, as bits; NaN stays NaN.
func bfloat16Bits(_ value: Float) -> UInt16 {
  if value.isNaN { return 0x7FC0 }
  let bits = value.bitPattern
  return UInt16(truncatingIfNeeded: (bits &+ 0x7FFF &+ ((bits >> 16) & 1)) >> 16)
}

/// Row-major strides, in elements.
func strides(of shape: [Int]) -> [Int] {
  var result = [Int](repeating: 1, count: shape.count)
  for axis in shape.indices.dropLast().reversed() {
    result[axis] = result[axis + 1] * shape[axis + 1]
  }
  return result
}

/// Calls `body` with every index of a shape in row-major order.
func forEachIndex(of shape: [Int], _ body: ([Int]) -> Void) {
  guard shape.allSatisfy({ $0 > 0 }) else { return }
  var index = [Int](repeating: 0, count: shape.count)
  while true {
    body(index)
    var axis = shape.count - 1
    while axis >= 0 {
      index[axis] += 1
      if index[axis] < shape[axis] { break }
      index[axis] = 0
      axis -= 1
    }
    if axis < 0 { return }
  }
}
