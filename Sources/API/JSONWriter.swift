import CSimdJSON
import Models
import Vocabulary

/// Writes JSON into bytes: commas, escapes, and tensors without a call per number.
struct JSONWriter {
  /// What has been written.
  private(set) var bytes: [UInt8] = []
  /// Whether the next member or element is the first of its container.
  private var isFirst = true

  /// An empty text with room for so many bytes.
  init(capacity: Int = 128) { bytes.reserveCapacity(capacity) }

  /// Begins an object or an array that is an element or a member's value.
  mutating func open(_ bracket: Unicode.Scalar) {
    separate()
    bytes.append(UInt8(truncatingIfNeeded: bracket.value))
    isFirst = true
  }

  /// Ends an object or an array.
  mutating func close(_ bracket: Unicode.Scalar) {
    bytes.append(UInt8(truncatingIfNeeded: bracket.value))
    isFirst = false
  }

  /// Begins a member whose key needs no escapes; its value is written next.
  mutating func key(_ key: StaticString) {
    separate()
    bytes.append(UInt8(ascii: "\""))
    key.withUTF8Buffer { bytes.append(contentsOf: $0) }
    bytes.append(UInt8(ascii: "\""))
    bytes.append(UInt8(ascii: ":"))
    isFirst = true
  }

  /// Writes a string as an element or a member's value.
  mutating func string(_ string: String) {
    separate()
    quoted(string.utf8)
    isFirst = false
  }

  /// Writes a boolean as an element or a member's value.
  mutating func boolean(_ value: Bool) {
    separate()
    bytes.append(contentsOf: (value ? "true" : "false").utf8)
    isFirst = false
  }

  /// Writes a whole number as an element or a member's value.
  mutating func integer(_ value: Int) {
    separate()
    bytes.append(contentsOf: String(value).utf8)
    isFirst = false
  }

  /// Writes a number with its fraction; null where JSON has no form for it.
  mutating func fraction(_ value: Double) {
    separate()
    bytes.append(contentsOf: (value.isFinite ? "\(value)" : "null").utf8)
    isFirst = false
  }

  /// Writes seconds as milliseconds with three decimals.
  mutating func milliseconds(_ duration: Duration) {
    separate()
    let microseconds = duration.wholeNanoseconds / 1000
    bytes.append(contentsOf: String(microseconds / 1000).utf8)
    let rest = String(abs(microseconds % 1000))
    bytes.append(UInt8(ascii: "."))
    bytes.append(contentsOf: repeatElement(UInt8(ascii: "0"), count: 3 - rest.utf8.count))
    bytes.append(contentsOf: rest.utf8)
    isFirst = false
  }

  /// Writes dimensions as an array.
  mutating func shape(_ shape: [Int]) {
    open("[")
    for dimension in shape { integer(dimension) }
    close("]")
  }

  /// Writes a tensor's elements as a flat array.
  ///
  /// - Throws: `Inexpressible` at an element that JSON has no form for.
  mutating func elements(of tensor: Tensor) throws(Inexpressible) {
    open("[")
    if tensor.type == .string {
      for (index, string) in tensor.strings.enumerated() {
        guard String(validating: string, as: UTF8.self) != nil else {
          throw Inexpressible(element: index, what: "bytes that are not UTF-8")
        }
        separate()
        quoted(string)
        isFirst = false
      }
    } else {
      guard let type = tensor.type.jsonType else {
        throw Inexpressible(element: 0, what: "\(tensor.type.rawValue) numbers")
      }
      if let index = numbers(of: tensor, as: type) {
        throw Inexpressible(element: index, what: "NaN or Infinity")
      }
    }
    close("]")
  }

  /// Why a tensor has no JSON form.
  struct Inexpressible: Error {
    /// The index of the element.
    let element: Int
    /// What it is.
    let what: String
  }

  /// Appends numbers in pieces that fit on the stack; returns the index of one that is not finite.
  private mutating func numbers(of tensor: Tensor, as type: stowage_json_type) -> Int? {
    // Up to this size a temporary allocation lies on the stack.
    let capacity = 1024
    let width = stowage_json_element_width(type)
    let piece = capacity / width
    let count = tensor.elementCount
    bytes.reserveCapacity(bytes.count + count * min(width, 12))
    return withExtendedLifetime(tensor.storage) {
      withUnsafeTemporaryAllocation(of: CChar.self, capacity: capacity) { text -> Int? in
        guard let base = text.baseAddress else { return nil }
        var index = 0
        while index < count {
          let elements = tensor.storage.base + index * tensor.type.byteSize
          let wanted = min(piece, count - index)
          var written = 0
          let printed = stowage_json_print(type, elements, wanted, base, &written)
          if index > 0 { bytes.append(UInt8(ascii: ",")) }
          bytes.append(contentsOf: UnsafeRawBufferPointer(start: base, count: written))
          index += printed
          if printed < wanted { return index }
        }
        return nil
      }
    }
  }

  private static let digits = Array("0123456789abcdef".utf8)

  private mutating func separate() {
    if !isFirst { bytes.append(UInt8(ascii: ",")) }
  }

  private mutating func quoted(_ string: some Sequence<UInt8>) {
    bytes.append(UInt8(ascii: "\""))
    for byte in string {
      switch byte {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"):
        bytes.append(UInt8(ascii: "\\"))
        bytes.append(byte)
      case 0..<0x20:
        bytes.append(contentsOf: "\\u00".utf8)
        bytes.append(Self.digits[Int(byte >> 4)])
        bytes.append(Self.digits[Int(byte & 15)])
      default: bytes.append(byte)
      }
    }
    bytes.append(UInt8(ascii: "\""))
  }
}

extension ElementType {
  /// The type as the JSON reader knows it; nil for types that JSON cannot carry.
  var jsonType: stowage_json_type? {
    switch self {
    case .bool: STOWAGE_JSON_BOOL
    case .uint8: STOWAGE_JSON_UINT8
    case .uint16: STOWAGE_JSON_UINT16
    case .uint32: STOWAGE_JSON_UINT32
    case .uint64: STOWAGE_JSON_UINT64
    case .int8: STOWAGE_JSON_INT8
    case .int16: STOWAGE_JSON_INT16
    case .int32: STOWAGE_JSON_INT32
    case .int64: STOWAGE_JSON_INT64
    case .float32: STOWAGE_JSON_FP32
    case .float64: STOWAGE_JSON_FP64
    case .string: STOWAGE_JSON_BYTES
    case .float16, .bfloat16: nil
    }
  }
}
