/// Reads one message of the protobuf wire format in place, field by field.
///
/// Source: the Protocol Buffers encoding specification. Groups, which ONNX never uses, are refused.
struct WireReader {
  /// The bytes of the message.
  let bytes: UnsafeRawBufferPointer
  /// What the message is, for errors.
  let message: StaticString
  /// Where the message starts in the file, for errors.
  let origin: Int
  private var position = 0

  init(_ bytes: UnsafeRawBufferPointer, message: StaticString, origin: Int = 0) {
    self.bytes = bytes
    self.message = message
    self.origin = origin
  }

  /// The next field, or nil at the end of the message.
  mutating func next() throws(ModelError) -> WireField? {
    guard position < bytes.count else { return nil }
    let start = position
    let key = try varint()
    guard let number = Int(exactly: key >> 3), number > 0, number < 1 << 29 else {
      throw malformed("a field number is out of range", at: start)
    }
    let value: WireField.Value
    switch key & 7 {
    case 0: value = .varint(try varint())
    case 1: value = .fixed64(UInt64(littleEndian: try fixed(UInt64.self)))
    case 2: value = .bytes(try block())
    case 5: value = .fixed32(UInt32(littleEndian: try fixed(UInt32.self)))
    default: throw malformed("a field has wire type \(key & 7), which ONNX does not use", at: start)
    }
    return WireField(number: number, value: value, message: message, offset: origin + start)
  }

  /// An unsigned integer of seven bits a byte.
  mutating func varint() throws(ModelError) -> UInt64 {
    var result: UInt64 = 0
    for shift in stride(from: 0, to: 64, by: 7) {
      guard position < bytes.count else { throw malformed("it ends inside a number") }
      let byte = bytes[position]
      position += 1
      guard shift < 63 || byte <= 1 else { throw malformed("a number exceeds 64 bits") }
      result |= UInt64(byte & 0x7f) << UInt64(shift)
      if byte < 0x80 { return result }
    }
    throw malformed("a number exceeds 64 bits")
  }

  /// Whether everything has been read.
  var isAtEnd: Bool { position == bytes.count }

  private mutating func fixed<Bits: FixedWidthInteger & BitwiseCopyable>(
    _ type: Bits.Type
  ) throws(ModelError) -> Bits {
    guard bytes.count - position >= MemoryLayout<Bits>.size else {
      throw malformed("it ends inside a number")
    }
    defer { position += MemoryLayout<Bits>.size }
    return bytes.loadUnaligned(fromByteOffset: position, as: type)
  }

  private mutating func block() throws(ModelError) -> UnsafeRawBufferPointer {
    let length = try varint()
    guard length <= UInt64(bytes.count - position) else {
      throw malformed("a field of \(length) bytes reaches past the end")
    }
    defer { position += Int(length) }
    return UnsafeRawBufferPointer(rebasing: bytes[position..<position + Int(length)])
  }

  private func malformed(_ reason: String, at place: Int? = nil) -> ModelError {
    ModelError("The \(message) at byte \(origin + (place ?? position)) is malformed: \(reason).")
  }
}

/// One field of a message: its number and its undecoded value.
struct WireField {
  enum Value {
    case varint(UInt64)
    case fixed64(UInt64)
    case fixed32(UInt32)
    case bytes(UnsafeRawBufferPointer)
  }

  let number: Int
  let value: Value
  /// What the message around the field is, for errors.
  let message: StaticString
  /// Where the field starts in the file, for errors.
  let offset: Int

  /// The bytes of a string, a message or packed numbers.
  func block() throws(ModelError) -> UnsafeRawBufferPointer {
    guard case .bytes(let block) = value else { throw unexpected("bytes") }
    return block
  }

  /// The bytes as text; invalid UTF-8 is repaired.
  func text() throws(ModelError) -> String { String(decoding: try block(), as: UTF8.self) }

  /// The bytes as a message of this kind.
  func message(_ kind: StaticString) throws(ModelError) -> WireReader {
    WireReader(try block(), message: kind, origin: offset)
  }

  /// A signed integer.
  func int() throws(ModelError) -> Int {
    guard case .varint(let bits) = value else { throw unexpected("an integer") }
    return Int(truncatingIfNeeded: bits)
  }

  /// A number in single precision.
  func float() throws(ModelError) -> Float {
    guard case .fixed32(let bits) = value else { throw unexpected("a float") }
    return Float(bitPattern: bits)
  }

  /// Appends one integer, or many when they are packed.
  func appendInts(to list: inout [Int]) throws(ModelError) {
    guard case .bytes(let block) = value else {
      list.append(try int())
      return
    }
    var reader = WireReader(block, message: message, origin: offset)
    while !reader.isAtEnd { list.append(Int(truncatingIfNeeded: try reader.varint())) }
  }

  /// Appends the bytes of one fixed-size number, or of many when they are packed.
  func appendFixed(size: Int, to list: inout [UInt8]) throws(ModelError) {
    switch (value, size) {
    case (.fixed32(let bits), 4): withUnsafeBytes(of: bits.littleEndian) { list += $0 }
    case (.fixed64(let bits), 8): withUnsafeBytes(of: bits.littleEndian) { list += $0 }
    case (.bytes(let block), _) where block.count % size == 0: list += block
    default: throw unexpected("numbers of \(size) bytes")
    }
  }

  private func unexpected(_ wanted: String) -> ModelError {
    ModelError(
      "The \(message) is malformed: field \(number) at byte \(offset) should hold \(wanted).")
  }
}
