import COneDNN
import Models
import Testing
import Vocabulary

@testable import CPUBackend

@Suite("Primitive")
struct PrimitiveTests {
  /// A 3×3 convolution of square pictures by Winograd's algorithm.
  private func winograd(channels: Int, size: Int, samples: Int) throws -> Primitive? {
    let picture = [samples, channels, size, size]
    let x = try #require(MemoryDescriptor(picture, .float32, .blocked))
    let w = try #require(MemoryDescriptor.any([channels, channels, 3, 3], .float32))
    let b = try #require(MemoryDescriptor([channels], .float32, .plain))
    let window = WindowGeometry(
      strides: [1, 1], dilations: [1, 1], before: [1, 1], after: [1, 1])
    return Primitive(
      .convolution(
        dnnl_convolution_winograd, source: x, weights: w, bias: b, destination: x, window))
  }

  @Test(
    "Winograd's kernel leaves alone the part of its scratchpad that nobody is given",
    arguments: [(64, 56, 4), (128, 112, 1), (256, 56, 1), (512, 28, 1), (512, 14, 8)], [1, 2])
  func untouchedScratch(shape: (channels: Int, size: Int, samples: Int), units: Int) throws {
    OneDNN.use(units: units)
    // Processors without AVX-512 have no such kernel, and nothing is left out there.
    guard
      let primitive = try winograd(
        channels: shape.channels, size: shape.size, samples: shape.samples)
    else { return }
    let descriptors = try [
      (DNNL.source, dnnl_query_src_md), (DNNL.weights, dnnl_query_weights_md),
      (DNNL.destination, dnnl_query_dst_md),
    ].map { ($0.0, try #require(primitive.descriptor($0.1))) }
    let bias = try #require(MemoryDescriptor([shape.channels], .float32, .plain))
    var owned: [UnsafeMutableRawPointer] = []
    defer { for memory in owned { memory.deallocate() } }
    func filled(_ byteCount: Int, _ byte: UInt8) -> UnsafeMutableRawPointer {
      let memory = UnsafeMutableRawPointer.allocate(byteCount: byteCount, alignment: 4096)
      memory.initializeMemory(as: UInt8.self, repeating: byte, count: byteCount)
      owned.append(memory)
      return memory
    }
    let untouched = primitive.untouchedScratch
    let scratchpad = filled(untouched + primitive.scratch, 0xA5)
    let arguments = (descriptors + [(DNNL.bias, bias)]).map {
      (argument: $0.0, descriptor: $0.1, data: filled($0.1.byteCount, 0x3C))
    }
    try primitive.run(arguments, scratchpad: scratchpad + untouched)
    let bytes = UnsafeRawBufferPointer(start: scratchpad, count: untouched)
    #expect(bytes.allSatisfy { $0 == 0xA5 })
    let answer = arguments[2].data.load(as: Float.self)
    #expect(answer != Float(bitPattern: 0x3C3C_3C3C), "The kernel did not run.")
  }
}
