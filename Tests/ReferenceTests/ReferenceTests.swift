import Models
import Testing
import Vocabulary

@testable import Reference

/// Applies an operator to tensors and returns its first output.
func apply(
  _ operation: String, _ inputs: [Tensor?], domain: String = "", opset: Int = 21,
  _ attributes: [String: Attribute] = [:]
) throws -> Tensor {
  let node = Node(
    name: "n", operation: operation, domain: domain, opset: opset,
    inputs: inputs.indices.map { inputs[$0] == nil ? nil : ValueID($0) },
    outputs: [ValueID(inputs.count)], attributes: attributes)
  return try #require(try Reference.evaluate(node, inputs).first ?? nil)
}

/// An FP32 tensor.
func floats(_ values: [Float], _ shape: [Int]) -> Tensor { .from(floats: values, shape) }

/// An INT64 tensor.
func integers(_ values: [Int], _ shape: [Int]) -> Tensor {
  .from(integers: values.map { Int128($0) }, .int64, shape)
}

/// Numbers that depend on the seed alone: Lehmer generator (1951).
struct Seeded {
  var state: UInt64
  init(_ seed: UInt64) { state = seed &* 2 &+ 1 }
  mutating func floats(_ count: Int) -> [Float] {
    (0..<count).map { _ in
      state = state &* 0xDA94_2042_E4DD_58B5
      return Float(Int32(truncatingIfNeeded: state >> 32)) / Float(Int32.max)
    }
  }
}

@Suite("Reference operators")
struct ReferenceTests {
  @Test("An unknown operator is refused with its node, name and opset")
  func unknown() {
    let node = Node(name: "here", operation: "Fly", opset: 13, inputs: [], outputs: [])
    #expect {
      try Reference.evaluate(node, [])
    } throws: { "\($0)".contains("'here'") && "\($0)".contains("Fly of opset 13") }
  }

  @Test("Shapes broadcast from the right, as numpy does")
  func broadcasting() throws {
    let sum = try apply("Add", [floats([1, 2, 3], [3, 1]), floats([10, 20], [2])])
    #expect(sum.shape == [3, 2])
    #expect(sum.floats() == [11, 21, 12, 22, 13, 23])
    #expect(throws: ModelError.self) {
      try apply("Add", [floats([1, 2, 3], [3]), floats([1, 2], [2])])
    }
  }

  @Test("Integers wrap in their own width and divide towards zero")
  func integerArithmetic() throws {
    let a = Tensor.from(integers: [250, 7], .uint8, [2])
    let b = Tensor.from(integers: [10, 2], .uint8, [2])
    #expect(try apply("Add", [a, b]).integers() == [4, 9])
    #expect(try apply("Div", [integers([-7], [1]), integers([2], [1])]).integers() == [-3])
    #expect(try apply("Mod", [integers([-7], [1]), integers([3], [1])]).integers() == [2])
  }

  @Test("Softmax before opset 13 takes all axes from its own on together")
  func softmaxMeaning() throws {
    let x = floats([0, 0, 0, 0], [1, 2, 2])
    #expect(try apply("Softmax", [x], opset: 9).floats() == [0.25, 0.25, 0.25, 0.25])
    #expect(try apply("Softmax", [x], opset: 13).floats() == [0.5, 0.5, 0.5, 0.5])
  }

  @Test("Reshape copies with 0, infers with -1 and refuses what does not fit")
  func reshape() throws {
    let x = floats([Float](repeating: 1, count: 24), [2, 3, 4])
    #expect(try apply("Reshape", [x, integers([0, -1], [2])]).shape == [2, 12])
    #expect(throws: ModelError.self) { try apply("Reshape", [x, integers([5, -1], [2])]) }
  }

  @Test("Slice counts from the end, steps backwards and clamps")
  func slice() throws {
    let x = integers([0, 1, 2, 3, 4], [5])
    func cut(_ start: Int, _ end: Int, _ step: Int) throws -> [Int128] {
      try apply(
        "Slice",
        [
          x, integers([start], [1]), integers([end], [1]), integers([0], [1]),
          integers([step], [1]),
        ]
      ).integers()
    }
    #expect(try cut(-3, 100, 1) == [2, 3, 4])
    #expect(try cut(4, -100, -2) == [4, 2, 0])
    #expect(try cut(3, 1, 1) == [])
  }

  @Test("A convolution equals its definition for random shapes", arguments: 0..<12)
  func convolution(seed: Int) throws {
    var random = Seeded(UInt64(seed))
    let groups = [1, 2, 4][seed % 3]
    let (step, dilation, pad) = (1 + seed % 2, 1 + seed / 3 % 2, seed % 4)
    let (n, c, h, w, oc, k) = (2, 4, 9, 8, 8, 1 + seed % 3)
    let x = random.floats(n * c * h * w)
    let weights = random.floats(oc * c / groups * k * k)
    let pads = [pad, pad / 2, pad / 2, pad]
    let result = try apply(
      "Conv", [floats(x, [n, c, h, w]), floats(weights, [oc, c / groups, k, k])], opset: 11,
      [
        "group": .int(groups), "strides": .ints([step, step]), "pads": .ints(pads),
        "dilations": .ints([dilation, dilation]),
      ])
    let (oh, ow) = (result.shape[2], result.shape[3])
    #expect(oh == (h + pads[0] + pads[2] - dilation * (k - 1) - 1) / step + 1)
    let values = result.floats()
    for position in stride(from: 0, to: values.count, by: 7) {
      let (column, row) = (position % ow, position / ow % oh)
      let (channel, sample) = (position / (ow * oh) % oc, position / (ow * oh * oc))
      var sum = 0.0
      for source in 0..<c / groups {
        for tap in 0..<k * k {
          let y = row * step + tap / k * dilation - pads[0]
          let z = column * step + tap % k * dilation - pads[1]
          guard (0..<h).contains(y), (0..<w).contains(z) else { continue }
          let from = channel / (oc / groups) * (c / groups) + source
          sum +=
            Double(x[((sample * c + from) * h + y) * w + z])
            * Double(weights[(channel * (c / groups) + source) * k * k + tap])
        }
      }
      #expect(abs(Double(values[position]) - sum) < 1e-5, "seed \(seed), element \(position)")
    }
  }

  @Test("Average pools count padding only when told, maximum pools never")
  func pools() throws {
    let x = floats([1, 2, 3, 4], [1, 1, 2, 2])
    let window: [String: Attribute] = [
      "kernel_shape": .ints([2, 2]), "pads": .ints([1, 1, 0, 0]), "strides": .ints([2, 2]),
    ]
    #expect(try apply("AveragePool", [x], opset: 11, window).floats() == [1])
    let counting = window.merging(["count_include_pad": .int(1)]) { $1 }
    #expect(try apply("AveragePool", [x], opset: 11, counting).floats() == [0.25])
    #expect(try apply("MaxPool", [x], opset: 11, window).floats() == [1])
  }

  @Test("A fused convolution is convolution, addition and activation in turn")
  func fusedConvolution() throws {
    var random = Seeded(5)
    let x = floats(random.floats(2 * 3 * 25), [2, 3, 5, 5])
    let w = floats(random.floats(4 * 3 * 9), [4, 3, 3, 3])
    let b = floats(random.floats(4), [4])
    let z = floats(random.floats(2 * 4 * 9), [2, 4, 3, 3])
    let plain = try apply("Relu", [try apply("Add", [try apply("Conv", [x, w, b]), z])])
    let fused = try apply(
      "FusedConv", [x, w, b, z], domain: "stowage", ["activation": .string("Relu")])
    for (a, b) in zip(plain.floats(), fused.floats()) { #expect(abs(a - b) < 1e-6) }
  }

  @Test("Concat and Split undo each other along any axis", arguments: [0, 1, 2, -1])
  func joinAndSplit(axis: Int) throws {
    var random = Seeded(9)
    let x = floats(random.floats(4 * 6 * 2), [4, 6, 2])
    let node = Node(
      name: "s", operation: "Split", opset: 18, inputs: [ValueID(0)],
      outputs: [ValueID(1), ValueID(2)],
      attributes: ["axis": .int(axis), "num_outputs": .int(2)])
    let parts = try Reference.evaluate(node, [x])
    #expect(try apply("Concat", parts, ["axis": .int(axis)]).floats() == x.floats())
  }
}
