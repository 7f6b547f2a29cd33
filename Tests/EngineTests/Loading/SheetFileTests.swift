import Backend
import Compiler
import Glibc
import Models
import Testing
import Vocabulary

@testable import Engine

@Suite("What is known of a model is kept beside its packed weights")
struct SheetFileTests {
  /// A sheet with every kind of dimension in it.
  private func sheet(symbol: String? = "n") -> ModelSheet {
    let values = [
      Value(name: "x", type: .int64, shape: [.symbol("n"), .fixed(3), .fixed(0)]),
      Value(name: "two words\n", type: .float32, shape: []),
      Value(name: "unknown", type: .string),
    ]
    let graph = Graph(
      name: "g", values: values, nodes: [], inputs: [ValueID(0), ValueID(2)], outputs: [ValueID(1)])
    let batching = symbol.map { Batching.independent(symbol: $0) } ?? .whole(reason: "It is odd.")
    let program = Program(graph: graph, layers: [], batching: batching, freeSymbols: ["h"])
    return ModelSheet(
      program,
      layers: (0..<3).map { index in
        LayerFootprint(
          name: "layer \(index)", weights: ByteCount(1 << 40), activations: ByteCount(index),
          scratch: .zero,
          alternatives: (0..<index).map {
            KernelFootprint(weights: ByteCount(7 * $0), scratch: ByteCount(1 << 33))
          })
      })
  }

  private func withFile(_ body: (String) throws -> Void) throws {
    var name = Array("/tmp/stowage-test-XXXXXX".utf8CString)
    let descriptor = mkstemp(&name)
    try #require(descriptor >= 0)
    close(descriptor)
    let path = name.withUnsafeBufferPointer { $0.baseAddress.map { String(cString: $0) } ?? "" }
    defer { unlink(path) }
    try body(path)
  }

  @Test("A sheet is read as it was written, with and without a batch dimension")
  func roundTrip() throws {
    try withFile { path in
      for sheet in [sheet(), sheet(symbol: nil), sheet(symbol: "")] {
        SheetFile.write(sheet, path, key: "key")
        #expect(SheetFile.read(path, key: "key") == sheet)
        #expect(SheetFile.read(path, key: "other") == nil)
      }
    }
    #expect(SheetFile.read("/nowhere/at/all", key: "key") == nil)
  }

  @Test("A sheet of which a bit or a byte is wrong is none")
  func damage() throws {
    try withFile { path in
      SheetFile.write(sheet(), path, key: "key")
      let file = try #require(fopen(path, "r+"))
      defer { fclose(file) }
      fseek(file, 0, SEEK_END)
      let count = ftell(file)
      for place in 0..<count {
        func flip() {
          fseek(file, place, SEEK_SET)
          let byte = fgetc(file)
          fseek(file, place, SEEK_SET)
          fputc(byte ^ 4, file)
          fflush(file)
        }
        flip()
        #expect(SheetFile.read(path, key: "key") == nil, "byte \(place)")
        flip()
      }
      #expect(SheetFile.read(path, key: "key") == sheet())
      for bytes in [0, 7, 8, count - 1] {
        #expect(truncate(path, bytes) == 0)
        #expect(SheetFile.read(path, key: "key") == nil, "\(bytes) bytes")
        SheetFile.write(sheet(), path, key: "key")
      }
    }
  }

  @Test("What is told of a model from outside follows from its sheet")
  func description() {
    let description = sheet().description(name: "m", version: "2", maximumBatch: 4)
    #expect(description.inputs.map(\.shape) == [[-1, 3, 0], []])
    #expect(description.inputs.map(\.type) == [.int64, .string])
    #expect(description.outputs.map(\.name) == ["two words\n"])
    #expect(description.state == .ready)
  }
}
