import Testing
import Vocabulary

@testable import Models

@Suite("Tensors in ONNX files")
struct TensorReaderTests {
  private func read(
    _ type: Int, _ shape: [Int], _ elements: (inout OnnxWriter) -> Void
  ) throws -> Tensor {
    let graph = try OnnxFile.read(OnnxWriter.tensorModel(type: type, shape, elements: elements))
    return try #require(graph[graph.outputs[0]].constant)
  }

  @Test("Raw bytes are read wherever they lie", arguments: 0..<8)
  func raw(padding: Int) throws {
    let tensor = try read(1, [3]) { tensor in
      tensor.text(12, String(repeating: "x", count: padding))
      tensor.block(9, [1.5, -2, 3].flatMap { withUnsafeBytes(of: Float($0)) { Array($0) } })
    }
    #expect(tensor.withElements(as: Float.self) { Array($0) } == [1.5, -2, 3])
  }

  @Test("Floats are read from their own field, packed or not")
  func floats() throws {
    let single = try read(1, [2]) { tensor in
      tensor.float(4, 1.25)
      tensor.float(4, -8)
    }
    #expect(single.withElements(as: Float.self) { Array($0) } == [1.25, -8])
    let packed = try read(11, [1]) { tensor in
      tensor.block(10, withUnsafeBytes(of: 2.5) { Array($0) })
    }
    #expect(packed.withElements(as: Double.self) { Array($0) } == [2.5])
  }

  @Test("Narrow integers are read from int32_data")
  func narrow() throws {
    let signed = try read(3, [2]) { tensor in
      tensor.int(5, -128)
      tensor.int(5, 127)
    }
    #expect(signed.withElements(as: Int8.self) { Array($0) } == [-128, 127])
    let half = try read(10, [1]) { $0.int(5, 0x3c00) }
    #expect(half.type == .float16)
    #expect(half.withElements(as: UInt16.self) { Array($0) } == [0x3c00])
    let flags = try read(9, [2]) { $0.block(5, [1, 0]) }
    #expect(flags.withElements(as: UInt8.self) { Array($0) } == [1, 0])
  }

  @Test("Wide integers and strings are read from their fields")
  func wide() throws {
    let signed = try read(7, [1]) { $0.int(7, .min) }
    #expect(signed.withElements(as: Int64.self) { Array($0) } == [.min])
    let unsigned = try read(13, [1]) { $0.int(11, -1) }
    #expect(unsigned.withElements(as: UInt64.self) { Array($0) } == [.max])
    let words = try read(8, [2]) { tensor in
      tensor.text(6, "a")
      tensor.text(6, "")
    }
    #expect(words.strings == [[97], []])
  }

  @Test(
    "Tensors that do not add up are refused",
    arguments: [
      (1, [2], 4), (1, [-1], 0), (1, [1 << 40, 1 << 40], 0), (17, [1], 1), (0, [1], 1),
      (1, [1, 1, 1, 1, 1, 1, 1, 1, 1], 4), (14, [1], 8), (99, [1], 1),
    ])
  func refused(type: Int, shape: [Int], rawBytes: Int) {
    #expect(throws: ModelError.self) {
      try read(type, shape) { $0.block(9, [UInt8](repeating: 0, count: rawBytes)) }
    }
  }

  @Test("A number that does not fit its type is refused")
  func overflowing() {
    #expect(throws: ModelError.self) { try read(2, [1]) { $0.int(5, 256) } }
    #expect(throws: ModelError.self) { try read(12, [1]) { $0.int(11, 1 << 32) } }
  }
}
