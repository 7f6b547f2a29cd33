import Testing

@testable import Models

@Suite("The protobuf wire format")
struct WireReaderTests {
  private func fields(_ bytes: [UInt8]) throws -> [(Int, WireField.Value)] {
    try bytes.withUnsafeBytes { raw in
      var reader = WireReader(raw, message: "Test")
      var found: [(Int, WireField.Value)] = []
      while let field = try reader.next() { found.append((field.number, field.value)) }
      return found
    }
  }

  @Test("Varints up to 64 bits are read", arguments: [0, 1, 127, 128, 300, UInt64.max])
  func varints(value: UInt64) throws {
    var writer = OnnxWriter()
    writer.varint(1 << 3)
    writer.varint(value)
    let found = try fields(writer.bytes)
    guard case .varint(let read)? = found.first?.1 else {
      Issue.record("No integer was read.")
      return
    }
    #expect(read == value)
  }

  @Test(
    "Malformed messages are refused",
    arguments: [
      [0x08], [0x08, 0x80], [0x0a, 0x05, 0x00], [0x0d, 0x00, 0x00], [0x09, 0x00], [0x0b], [0x00],
      [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
      [0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    ] as [[UInt8]])
  func malformed(bytes: [UInt8]) {
    #expect(throws: ModelError.self) { try fields(bytes) }
  }

  @Test("Repeated integers are read packed and one by one")
  func repeated() throws {
    var writer = OnnxWriter()
    writer.int(1, -3)
    writer.block(1, [1, 2, 0xac, 0x02])
    try writer.bytes.withUnsafeBytes { raw in
      var reader = WireReader(raw, message: "Test")
      var list: [Int] = []
      while let field = try reader.next() { try field.appendInts(to: &list) }
      #expect(list == [-3, 1, 2, 300])
    }
  }
}
