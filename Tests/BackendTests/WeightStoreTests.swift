import Backend
import Models
import Testing

@Suite("Weights in memory")
struct WeightStoreTests {
  @Test("A place is filled once and stays; bytes are counted by layer")
  func places() throws {
    let store = MemoryWeights()
    var fills = 0
    func place(_ layer: Int, _ name: String) throws -> UnsafeMutableRawPointer {
      try store.place(layer: layer, name: name, byteCount: 100) { target in
        fills += 1
        target.storeBytes(of: UInt8(fills), as: UInt8.self)
      }
    }
    let first = try place(0, "a")
    #expect(try place(0, "a") == first)
    #expect(try place(1, "a") != first)
    #expect(try place(0, "b") != first)
    #expect(fills == 3)
    #expect(first.load(as: UInt8.self) == 1)
    #expect(store.byteCount(layer: 0) == 200)
    #expect(store.byteCount(layer: 1) == 100)
    #expect(store.byteCount(layer: 2) == 0)
  }

  @Test("The kernels of a layer have places of their own")
  func kernels() throws {
    let store = MemoryWeights()
    let places = try (0...1).map { kernel in
      try store.place(layer: 0, kernel: kernel, name: "a", byteCount: 100 + kernel) { _ in }
    }
    #expect(places[0] != places[1])
    #expect(store.byteCount(layer: 0, kernel: 0) == 100)
    #expect(store.byteCount(layer: 0, kernel: 1) == 101)
  }

  @Test("A place that could not be filled is not kept")
  func failures() throws {
    let store = MemoryWeights()
    #expect(throws: ModelError.self) {
      _ = try store.place(layer: 0, name: "a", byteCount: 8) { _ throws(ModelError) in
        throw ModelError("No.")
      }
    }
    #expect(store.byteCount(layer: 0) == 0)
    _ = try store.place(layer: 0, name: "a", byteCount: 8) { $0.storeBytes(of: 7, as: UInt64.self) }
    #expect(store.byteCount(layer: 0) == 8)
  }
}
