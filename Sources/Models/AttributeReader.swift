import Vocabulary

extension ModelReader {
  /// Reads an AttributeProto.
  ///
  /// - Parameter assemblers: Takes what a subgraph among the attributes was read into.
  /// - Returns: The name, and the value unless it refers to an argument that the call leaves out.
  func readAttribute(
    _ reader: WireReader, of node: String, in scope: NameScope, _ context: NodeContext,
    _ assemblers: inout [GraphAssembler]
  ) throws(ModelError) -> (name: String, value: Attribute?) {
    var fields = AttributeFields()
    do {
      try fields.readAll(reader)
    } catch {
      throw ModelError("Node '\(node)' cannot be read: \(error.description)")
    }
    if !fields.reference.isEmpty { return (fields.name, context.arguments[fields.reference]) }
    let value: Attribute
    switch fields.kind {
    case .float: value = .float(fields.float)
    case .int: value = .int(fields.int)
    case .string: value = .string(fields.string)
    case .floats: value = .floats(fields.floats)
    case .ints: value = .ints(fields.ints)
    case .strings: value = .strings(fields.strings)
    case .tensor:
      guard let tensor = fields.tensor else {
        throw ModelError("Attribute '\(fields.name)' of node '\(node)' lacks its tensor.")
      }
      do {
        value = .tensor(try tensors.read(tensor).tensor)
      } catch {
        throw ModelError(
          "Attribute '\(fields.name)' of node '\(node)' is refused: \(error.description)")
      }
    case .graph:
      guard let graph = fields.graph else {
        throw ModelError("Attribute '\(fields.name)' of node '\(node)' lacks its graph.")
      }
      let assembler = GraphAssembler()
      assembler.attribute = fields.name
      let inner = NameScope(graph: assembler, parent: scope, prefix: scope.prefix)
      value = .graph(try readGraph(graph, in: inner, try context.nested(in: node)))
      assemblers.append(assembler)
    default:
      throw ModelError(
        "Attribute '\(fields.name)' of node '\(node)' has type \(fields.typeCode), "
          + "which is not supported.")
    }
    return (fields.name, value)
  }
}

/// The numbers of `AttributeProto.AttributeType` that are supported.
private enum AttributeKind: Int {
  case undefined = 0
  case float = 1
  case int = 2
  case string = 3
  case tensor = 4
  case graph = 5
  case floats = 6
  case ints = 7
  case strings = 8
}

/// The fields of one AttributeProto.
private struct AttributeFields {
  var name = ""
  var reference = ""
  var typeCode = 0
  var float: Float = 0
  var int = 0
  var string = ""
  var tensor: WireReader?
  var graph: WireReader?
  var floatBytes: [UInt8] = []
  var ints: [Int] = []
  var strings: [String] = []

  var kind: AttributeKind? { AttributeKind(rawValue: typeCode) }

  var floats: [Float] {
    floatBytes.withUnsafeBytes { bytes in
      (0..<bytes.count / 4).map { index in
        let bits = bytes.loadUnaligned(fromByteOffset: index * 4, as: UInt32.self)
        return Float(bitPattern: UInt32(littleEndian: bits))
      }
    }
  }

  mutating func readAll(_ reader: WireReader) throws(ModelError) {
    var reader = reader
    var seen = AttributeKind.undefined
    while let field = try reader.next() {
      switch field.number {
      case 1: name = try field.text()
      case 2: (float, seen) = (try field.float(), .float)
      case 3: (int, seen) = (try field.int(), .int)
      case 4: (string, seen) = (try field.text(), .string)
      case 5: (tensor, seen) = (try field.message("TensorProto"), .tensor)
      case 6: (graph, seen) = (try field.message("GraphProto"), .graph)
      case 7:
        try field.appendFixed(size: 4, to: &floatBytes)
        seen = .floats
      case 8:
        try field.appendInts(to: &ints)
        seen = .ints
      case 9:
        strings.append(try field.text())
        seen = .strings
      case 20: typeCode = try field.int()
      case 21: reference = try field.text()
      default: break
      }
    }
    // Files of early exporters leave the type out; the field that is there then tells it.
    if typeCode == 0 { typeCode = seen.rawValue }
  }
}
