/// Writes the protobuf wire format, and the few ONNX messages that tests need.
struct OnnxWriter {
  private(set) var bytes: [UInt8] = []

  mutating func varint(_ value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      bytes.append(UInt8(rest & 0x7f) | 0x80)
      rest >>= 7
    }
    bytes.append(UInt8(rest))
  }

  mutating func int(_ field: Int, _ value: Int) {
    varint(UInt64(field << 3))
    varint(UInt64(bitPattern: Int64(value)))
  }

  mutating func float(_ field: Int, _ value: Float) {
    varint(UInt64(field << 3 | 5))
    withUnsafeBytes(of: value.bitPattern.littleEndian) { bytes += $0 }
  }

  mutating func block(_ field: Int, _ content: [UInt8]) {
    varint(UInt64(field << 3 | 2))
    varint(UInt64(content.count))
    bytes += content
  }

  mutating func text(_ field: Int, _ text: String) { block(field, Array(text.utf8)) }

  mutating func message(_ field: Int, _ fill: (inout OnnxWriter) -> Void) {
    block(field, OnnxWriter.bytes(fill))
  }

  static func bytes(_ fill: (inout OnnxWriter) -> Void) -> [UInt8] {
    var writer = OnnxWriter()
    fill(&writer)
    return writer.bytes
  }
}

extension OnnxWriter {
  /// A whole model around a graph.
  static func model(
    opset: Int = 13, extra: (inout OnnxWriter) -> Void = { _ in },
    graph: (inout OnnxWriter) -> Void
  ) -> [UInt8] {
    bytes { model in
      model.int(1, 8)
      model.message(8) { $0.int(2, opset) }
      extra(&model)
      model.message(7, graph)
    }
  }

  /// A NodeProto in field `field`: 1 of a graph, 7 of a function.
  mutating func node(
    _ operation: String, _ inputs: [String], _ outputs: [String], name: String = "",
    domain: String = "", field: Int = 1, attributes: (inout OnnxWriter) -> Void = { _ in }
  ) {
    message(field) { node in
      for input in inputs { node.text(1, input) }
      for output in outputs { node.text(2, output) }
      if !name.isEmpty { node.text(3, name) }
      node.text(4, operation)
      if !domain.isEmpty { node.text(7, domain) }
      attributes(&node)
    }
  }

  /// A ValueInfoProto in field `field`: 11 for an input, 12 for an output.
  mutating func value(_ field: Int, _ name: String, type: Int = 1, _ shape: [Any]) {
    message(field) { value in
      value.text(1, name)
      value.message(2) { kind in
        kind.message(1) { tensor in
          tensor.int(1, type)
          tensor.message(2) { dimensions in
            for size in shape {
              dimensions.message(1) { dimension in
                if let number = size as? Int { dimension.int(1, number) }
                if let symbol = size as? String { dimension.text(2, symbol) }
              }
            }
          }
        }
      }
    }
  }

  /// A TensorProto in field `field`, whose elements the closure writes.
  mutating func tensor(
    _ field: Int, _ name: String, type: Int, _ shape: [Int],
    elements: (inout OnnxWriter) -> Void
  ) {
    message(field) { tensor in
      for size in shape { tensor.int(1, size) }
      tensor.int(2, type)
      tensor.text(8, name)
      elements(&tensor)
    }
  }

  /// A graph that hands its only initializer, `w`, to its output.
  static func tensorModel(
    type: Int, _ shape: [Int], elements: (inout OnnxWriter) -> Void
  ) -> [UInt8] {
    model { graph in
      graph.tensor(5, "w", type: type, shape, elements: elements)
      graph.value(12, "w", type: type, shape)
    }
  }
}
