import Models
import Testing
import Vocabulary

@testable import Reference

@Suite("Reference: quantisation")
struct QuantizationTests {
  @Test("Quantising rounds ties to even and saturates")
  func rounding() throws {
    let x = floats([0.5, 1.5, 2.5, -0.5, 300, -300], [6])
    let zero = Tensor.from(integers: [0], .int8, [])
    let y = try apply("QuantizeLinear", [x, floats([1], []), zero])
    #expect(y.type == .int8)
    #expect(y.integers() == [0, 2, 2, 0, 127, -128])
  }

  @Test("Scales may belong to slices of an axis or to blocks along it")
  func scales() throws {
    let x = Tensor.from(integers: [10, 10, 10, 10, 20, 20, 20, 20], .int8, [2, 4])
    let perRow = try apply("DequantizeLinear", [x, floats([1, 0.5], [2])], ["axis": .int(0)])
    #expect(perRow.floats() == [10, 10, 10, 10, 10, 10, 10, 10])
    let blocked = try apply(
      "DequantizeLinear", [x, floats([1, 2, 3, 4], [2, 2])],
      ["axis": .int(1), "block_size": .int(2)])
    #expect(blocked.floats() == [10, 10, 20, 20, 60, 60, 80, 80])
  }

  @Test("Dynamic quantisation always holds 0")
  func dynamic() throws {
    let outputs = try applyAll("DynamicQuantizeLinear", [floats([1, 2, 3.5], [3])], outputs: 3)
    #expect(outputs[2].integers() == [0])
    #expect(outputs[0].integers() == [73, 146, 255])
  }

  @Test("Zeros alone are quantised with a scale that can be divided by")
  func zerosAlone() throws {
    let found = try applyAll("DynamicQuantizeLinear", [floats([0, 0], [2])], outputs: 3)
    #expect(found[0].reals() == [0, 0])
    #expect(found[1].floats() == [1])
  }

  @Test("A quantised convolution is dequantise, convolve, quantise", arguments: 0..<4)
  func convolution(seed: Int) throws {
    var random = Seeded(UInt64(seed))
    func quantised(_ shape: [Int]) -> Tensor {
      .from(
        integers: random.floats(shape.elementCount).map { Int128($0 * 127) + 128 }, .uint8, shape)
    }
    let (x, w) = (quantised([1, 2, 5, 5]), quantised([3, 2, 3, 3]))
    let (zero, scale) = (Tensor.from(integers: [121], .uint8, []), floats([0.02], []))
    let (target, wide) = (Tensor.from(integers: [128], .uint8, []), floats([0.9], []))
    let direct = try apply("QLinearConv", [x, scale, zero, w, scale, zero, wide, target])
    let real = try apply(
      "Conv",
      [
        try apply("DequantizeLinear", [x, scale, zero]),
        try apply("DequantizeLinear", [w, scale, zero]),
      ])
    expectClose(direct, try apply("QuantizeLinear", [real, wide, target]), within: 1, seed)
  }

  @Test("Integer products are exact beyond the precision of floats")
  func exactProducts() throws {
    let a = Tensor.from(integers: [Int128](repeating: 255, count: 1 << 12), .uint8, [1, 1 << 12])
    let b = Tensor.from(integers: [Int128](repeating: 255, count: 1 << 12), .uint8, [1 << 12, 1])
    let sum = try apply("MatMulInteger", [a, b])
    #expect(sum.integers() == [255 * 255 * 4096])
    let long = try apply("ReduceSum", [integers([1 << 60, 1, 1], [3])])
    #expect(long.integers() == [(1 << 60) + 2])
  }
}
