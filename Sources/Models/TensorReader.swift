import Vocabulary

/// Reads ONNX's TensorProto; elements stay in the mapped file where their alignment allows.
struct TensorReader {
  /// What keeps the file's bytes alive.
  let owner: AnyObject
  /// The files beside the model.
  var external: ExternalData
  /// Tensors by where their message starts: a function's body is read for every call.
  private var known: [UnsafeRawPointer: Tensor] = [:]
  /// Copies of misaligned elements by where these lie, which many tensors may share.
  private var copies: [UnsafeRawPointer: TensorStorage] = [:]

  init(owner: AnyObject, external: ExternalData) {
    self.owner = owner
    self.external = external
  }

  /// Reads a tensor and its name, which is empty in attributes.
  mutating func read(_ reader: WireReader) throws(ModelError) -> (name: String, tensor: Tensor) {
    var fields = TensorFields()
    var rest = reader
    while let field = try rest.next() { try fields.take(field) }
    do {
      guard let start = reader.bytes.baseAddress, !reader.bytes.isEmpty else {
        return (fields.name, try tensor(fields))
      }
      if let tensor = known[start] { return (fields.name, tensor) }
      let tensor = try tensor(fields)
      known[start] = tensor
      return (fields.name, tensor)
    } catch {
      throw ModelError("Tensor '\(fields.name)' cannot be read: \(error.description)")
    }
  }

  private mutating func tensor(_ fields: TensorFields) throws(ModelError) -> Tensor {
    let type = try ElementType(onnx: fields.typeCode)
    let count = try elementCount(fields.dimensions)
    let shape = fields.dimensions
    guard !fields.isSegmented else {
      throw ModelError("It is one segment of a tensor, which is not supported.")
    }
    if type == .string {
      guard fields.strings.count == count, fields.place == nil, fields.raw == nil else {
        throw ModelError("It has \(fields.strings.count) strings where its shape needs \(count).")
      }
      return Tensor(strings: fields.strings, shape: shape)
    }
    let (byteCount, overflow) = count.multipliedReportingOverflow(by: type.byteSize)
    guard !overflow else { throw ModelError("Its size exceeds what memory can address.") }
    if let place = fields.place {
      let (bytes, file) = try external.bytes(at: place, count: byteCount)
      return borrow(bytes, type, shape, from: file)
    }
    if let raw = fields.raw {
      guard raw.count == byteCount else {
        throw ModelError("It has \(raw.count) bytes where its shape needs \(byteCount).")
      }
      return borrow(raw, type, shape, from: owner)
    }
    return try typed(fields, type, shape, count)
  }

  /// Wraps bytes of a file; when their elements are not aligned, whoever needs that gets a copy.
  private mutating func borrow(
    _ bytes: UnsafeRawBufferPointer, _ type: ElementType, _ shape: [Int], from owner: AnyObject
  ) -> Tensor {
    if let base = bytes.baseAddress, UInt(bitPattern: base) % UInt(type.byteSize) == 0 {
      let storage = TensorStorage(borrowing: base, byteCount: bytes.count, from: owner)
      return Tensor(type: type, shape: shape, storage: storage)
    }
    if let start = bytes.baseAddress, let copy = copies[start], copy.byteCount == bytes.count {
      return Tensor(type: type, shape: shape, storage: copy)
    }
    guard let start = bytes.baseAddress else {
      return Tensor(type: type, shape: shape, storage: TensorStorage(byteCount: 0))
    }
    let storage = TensorStorage(aligning: start, byteCount: bytes.count, from: owner)
    copies[start] = storage
    return Tensor(type: type, shape: shape, storage: storage)
  }

  /// Makes a tensor from the field that holds this type's elements as numbers.
  private func typed(
    _ fields: TensorFields, _ type: ElementType, _ shape: [Int], _ count: Int
  ) throws(ModelError) -> Tensor {
    let found: Int
    switch type {
    case .float32: found = fields.floats.count / 4
    case .float64: found = fields.doubles.count / 8
    case .int64: found = fields.int64s.count
    case .uint32, .uint64: found = fields.uint64s.count
    default: found = fields.int32s.count
    }
    guard found == count else {
      throw ModelError("It has \(found) elements where its shape needs \(count).")
    }
    switch type {
    case .float32: return copy(fields.floats, type, shape)
    case .float64: return copy(fields.doubles, type, shape)
    case .int64: return try narrow(fields.int64s, Int64.self, type, shape)
    case .uint64:
      return Tensor.make(type, shape, as: UInt64.self) { elements in
        for (index, value) in fields.uint64s.enumerated() {
          elements[index] = UInt64(bitPattern: Int64(value))
        }
      }
    case .uint32: return try narrow(fields.uint64s, UInt32.self, type, shape)
    case .int32: return try narrow(fields.int32s, Int32.self, type, shape)
    case .int16: return try narrow(fields.int32s, Int16.self, type, shape)
    case .int8: return try narrow(fields.int32s, Int8.self, type, shape)
    case .uint16, .float16, .bfloat16: return try narrow(fields.int32s, UInt16.self, type, shape)
    default: return try narrow(fields.int32s, UInt8.self, type, shape)
    }
  }

  private func copy(_ bytes: [UInt8], _ type: ElementType, _ shape: [Int]) -> Tensor {
    let storage = TensorStorage(byteCount: bytes.count)
    bytes.withUnsafeBytes {
      UnsafeMutableRawBufferPointer(start: storage.base, count: bytes.count).copyMemory(from: $0)
    }
    return Tensor(type: type, shape: shape, storage: storage)
  }

  private func narrow<Element: FixedWidthInteger & BitwiseCopyable>(
    _ values: [Int], _ element: Element.Type, _ type: ElementType, _ shape: [Int]
  ) throws(ModelError) -> Tensor {
    if let wrong = values.first(where: { Element(exactly: $0) == nil }) {
      throw ModelError("The element \(wrong) does not fit into \(type.rawValue).")
    }
    return Tensor.make(type, shape, as: Element.self) { elements in
      for (index, value) in values.enumerated() {
        elements[index] = Element(truncatingIfNeeded: value)
      }
    }
  }

  private func elementCount(_ dimensions: [Int]) throws(ModelError) -> Int {
    guard dimensions.count <= Limits.tensorRank else {
      throw ModelError(
        "It has \(dimensions.count) dimensions; at most \(Limits.tensorRank) are supported.")
    }
    var count = 1
    for size in dimensions {
      guard size >= 0 else { throw ModelError("A dimension is negative: \(size).") }
      let (product, overflow) = count.multipliedReportingOverflow(by: size)
      guard !overflow, product <= Limits.tensorElements else {
        throw ModelError("Its shape \(dimensions) has too many elements.")
      }
      count = product
    }
    return count
  }
}

/// The fields of one TensorProto, undecoded.
private struct TensorFields {
  var name = ""
  var dimensions: [Int] = []
  var typeCode = 0
  var isSegmented = false
  var raw: UnsafeRawBufferPointer?
  var floats: [UInt8] = []
  var doubles: [UInt8] = []
  var int32s: [Int] = []
  var int64s: [Int] = []
  var uint64s: [Int] = []
  var strings: [[UInt8]] = []
  var place: ExternalData.Place?

  mutating func take(_ field: WireField) throws(ModelError) {
    switch field.number {
    case 1: try field.appendInts(to: &dimensions)
    case 2: typeCode = try field.int()
    case 3: isSegmented = true
    case 4: try field.appendFixed(size: 4, to: &floats)
    case 5: try field.appendInts(to: &int32s)
    case 6: strings.append(Array(try field.block()))
    case 7: try field.appendInts(to: &int64s)
    case 8: name = try field.text()
    case 9: raw = try field.block()
    case 10: try field.appendFixed(size: 8, to: &doubles)
    case 11: try field.appendInts(to: &uint64s)
    case 13:
      var entry = try field.message("StringStringEntryProto")
      var key = ""
      var value = ""
      while let field = try entry.next() {
        if field.number == 1 { key = try field.text() }
        if field.number == 2 { value = try field.text() }
      }
      var known = place ?? ExternalData.Place()
      try known.set(key, to: value)
      place = known
    case 14: if try field.int() == 1, place == nil { place = ExternalData.Place() }
    default: break
    }
  }
}
