import Vocabulary

/// Conversions between the element types of arrays and models.
enum Numbers {
  /// Elements as doubles; empty for strings.
  static func read(_ bytes: [UInt8], as type: ElementType) -> [Double] {
    switch type {
    case .bool: bytes.map { $0 == 0 ? 0 : 1 }
    case .uint8: bytes.map(Double.init)
    case .int8: bytes.map { Double(Int8(bitPattern: $0)) }
    case .uint16: each(bytes, UInt16.self) { Double($0) }
    case .int16: each(bytes, Int16.self) { Double($0) }
    case .uint32: each(bytes, UInt32.self) { Double($0) }
    case .int32: each(bytes, Int32.self) { Double($0) }
    case .uint64: each(bytes, UInt64.self) { Double($0) }
    case .int64: each(bytes, Int64.self) { Double($0) }
    case .float16: each(bytes, UInt16.self) { Double(Float16(bitPattern: $0)) }
    case .bfloat16: each(bytes, UInt16.self) { Double(Float(bitPattern: UInt32($0) << 16)) }
    case .float32: each(bytes, UInt32.self) { Double(Float(bitPattern: $0)) }
    case .float64: each(bytes, UInt64.self) { Double(bitPattern: $0) }
    case .string: []
    }
  }

  /// Elements in a model's floating-point type; nil when the type is another and differs.
  ///
  /// Whole numbers are not made from fractions, nor small types from large ones: such a change
  /// is for the one who knows the data.
  static func convert(_ bytes: [UInt8], from: ElementType, to: ElementType) -> [UInt8]? {
    if from == to { return bytes }
    let values = read(bytes, as: from)
    switch to {
    case .float32: return values.flatMap { little(Float($0).bitPattern) }
    case .float64: return values.flatMap { little($0.bitPattern) }
    case .float16: return values.flatMap { little(Float16($0).bitPattern) }
    default: return nil
    }
  }

  private static func each<Word: FixedWidthInteger>(
    _ bytes: [UInt8], _ word: Word.Type, _ body: (Word) -> Double
  ) -> [Double] {
    let size = MemoryLayout<Word>.size
    return bytes.withUnsafeBytes { raw in
      (0..<bytes.count / size).map { index in
        body(Word(littleEndian: raw.loadUnaligned(fromByteOffset: index * size, as: Word.self)))
      }
    }
  }

  private static func little<Word: FixedWidthInteger>(_ word: Word) -> [UInt8] {
    withUnsafeBytes(of: word.littleEndian) { Array($0) }
  }
}
