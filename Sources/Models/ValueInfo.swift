import Vocabulary

/// What a ValueInfoProto says of a tensor.
struct ValueInfo {
  private(set) var name = ""
  private(set) var type: ElementType?
  private(set) var shape: [Dimension]?
  /// What the value is when it is not a tensor whose elements the server carries.
  private(set) var unsupportedKind: String?

  init(_ reader: WireReader) throws(ModelError) {
    var reader = reader
    var typeReader: WireReader?
    while let field = try reader.next() {
      if field.number == 1 { name = try field.text() }
      if field.number == 2 { typeReader = try field.message("TypeProto") }
    }
    guard !name.isEmpty else { throw ModelError("An input, output or value has no name.") }
    while let field = try typeReader?.next() {
      switch field.number {
      case 1: try readTensor(try field.message("TypeProto.Tensor"))
      case 4: unsupportedKind = "a sequence"
      case 5: unsupportedKind = "a map"
      case 8: unsupportedKind = "a sparse tensor"
      case 9: unsupportedKind = "optional"
      default: break
      }
    }
  }

  private mutating func readTensor(_ reader: WireReader) throws(ModelError) {
    var reader = reader
    while let field = try reader.next() {
      switch field.number {
      case 1:
        do {
          let code = try field.int()
          type = code == 0 ? nil : try ElementType(onnx: code)
        } catch {
          unsupportedKind = "of a type that cannot be carried (\(error.description))"
        }
      case 2: shape = try readShape(try field.message("TensorShapeProto"))
      default: break
      }
    }
  }

  private func readShape(_ reader: WireReader) throws(ModelError) -> [Dimension] {
    var reader = reader
    var shape: [Dimension] = []
    while let field = try reader.next() {
      guard field.number == 1 else { continue }
      guard shape.count < Limits.tensorRank else {
        throw ModelError("'\(name)' has more than \(Limits.tensorRank) dimensions.")
      }
      var dimension = try field.message("TensorShapeProto.Dimension")
      var size: Dimension = .symbol("\(name).\(shape.count)")
      while let field = try dimension.next() {
        if field.number == 1 {
          let value = try field.int()
          guard value <= Limits.tensorElements else {
            throw ModelError("'\(name)' has a dimension of \(value), which is too large.")
          }
          if value >= 0 { size = .fixed(value) }
        } else if field.number == 2 {
          let symbol = try field.text()
          // Some exporters write a question mark for every size that they do not know.
          if !symbol.isEmpty, symbol != "?" { size = .symbol(symbol) }
        }
      }
      shape.append(size)
    }
    return shape
  }
}
