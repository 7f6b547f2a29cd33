import Backend
import Compiler
import Models
import Reference
import Testing
import Vocabulary

@testable import CPUBackend

extension GraphMaker {
  /// 8-bit integers: random ones, or all the same.
  mutating func bytes(
    _ shape: [Int], _ type: ElementType, all value: Int? = nil, within bound: Float = 127
  ) -> ValueID {
    let floats = random.floats(shape.elementCount)
    let shift: Float = type == .int8 ? 0 : 128
    let tensor = Tensor.make(type, shape, as: UInt8.self) { elements in
      for index in elements.indices {
        let whole = value ?? Int(floats[index] * bound + shift)
        elements[index] = UInt8(truncatingIfNeeded: whole)
      }
    }
    graph.values.append(Value(name: "b\(graph.values.count)", type: type, constant: tensor))
    return ValueID(graph.values.count - 1)
  }

  mutating func byte(_ value: Int, _ type: ElementType) -> ValueID { bytes([], type, all: value) }

  mutating func number(_ value: Float) -> ValueID { constant([value], []) }

  /// An input in steps of 1/100: integers with scale and zero point.
  mutating func quantized(
    _ shape: [Int], _ type: ElementType, zero: Int
  ) -> (x: ValueID, scale: ValueID, zero: ValueID) {
    let (scale, zero) = (number(0.0101), byte(zero, type))
    return (node("QuantizeLinear", [input(shape), scale, zero]), scale, zero)
  }
}

@Suite("8-bit integers against Reference")
struct QuantizedTests {
  private struct Kind {
    var type: ElementType
    var zero: Int
    var weights: ElementType
  }

  private static let kinds: [Kind] = [
    Kind(type: .uint8, zero: 0, weights: .int8), Kind(type: .uint8, zero: 131, weights: .int8),
    Kind(type: .int8, zero: -3, weights: .int8), Kind(type: .uint8, zero: 120, weights: .uint8),
  ]

  /// Runs in several partitions of the samples, which must not change a bit, and returns answers
  /// and those of `Reference`.
  private func answers(
    _ graph: Graph, samples: Int = 5, seed: Int, options: CompileOptions = CompileOptions()
  ) throws -> [(answer: Tensor, expected: Tensor)] {
    var random = Seeded(seed + 2000)
    let inputs = random.inputs(of: graph, samples: samples)
    let expected = try Interpreter.run(graph, inputs: inputs)
    let whole = try runOnCPU(graph, inputs, parts: [samples], units: 2)
    for parts in [[2, 3], [1, 4], [4, 1]] {
      let answers = try runOnCPU(graph, inputs, parts: parts)
      for (one, other) in zip(whole, answers) { #expect(bytes(one) == bytes(other), "\(parts)") }
    }
    return Array(zip(whole, expected))
  }

  private func bytes(_ tensor: Tensor) -> [UInt8] {
    let start = UnsafeRawPointer(tensor.storage.base)
    return withExtendedLifetime(tensor.storage) {
      Array(UnsafeRawBufferPointer(start: start, count: tensor.byteCount))
    }
  }

  private func numbers(_ tensor: Tensor) -> [Int] {
    switch tensor.type {
    case .int8: tensor.withElements(as: Int8.self) { $0.map(Int.init) }
    case .uint8: tensor.withElements(as: UInt8.self) { $0.map(Int.init) }
    default: tensor.withElements(as: Int32.self) { $0.map(Int.init) }
    }
  }

  /// Rounding in single precision may fall to the other side where a result lies between two.
  private func expectSteps(_ pairs: [(answer: Tensor, expected: Tensor)], atMost step: Int) {
    for (answer, expected) in pairs {
      #expect(answer.shape == expected.shape)
      let (a, b) = (numbers(answer), numbers(expected))
      let differences = zip(a, b).map { abs($0 - $1) }
      #expect(differences.max() ?? 0 <= step)
      #expect(differences.filter { $0 > 0 }.count * 200 <= a.count)
      #expect(Set(b).count > 3)
    }
  }

  private func expectNativeKernels(_ graph: Graph) throws {
    guard Processor.sumsExactly else { return }
    let program = try Compiler.compile(graph)
    let model = try CPUBackend().load(program, options: LoadOptions(maximumBatch: 1, units: [1]))
    let shapes = try #require(program.exampleShapes)
    let plan = try #require(model as? CPUModel).plan(samples: 1, inputShapes: shapes, units: 1)
    #expect(!plan.steps.contains { $0.kernel is ReferenceKernel })
  }

  @Test("Sums of products are exact beyond 24 bits, whatever the zero points", arguments: 0..<4)
  func integerProducts(seed: Int) throws {
    let kind = Self.kinds[seed]
    var maker = GraphMaker(seed: seed)
    let (x, _, zero) = maker.quantized([3, 901], kind.type, zero: kind.zero)
    let w = maker.bytes([901, 37], kind.weights)
    let zeros = maker.bytes(seed % 2 == 0 ? [37] : [], kind.weights, within: 60)
    let same = maker.bytes([901, 5], kind.weights, all: kind.weights == .int8 ? 127 : 255)
    let graph = maker.finish(
      maker.node("MatMulInteger", [x, w, zero, zeros]), maker.node("MatMulInteger", [x, w]),
      maker.node("MatMulInteger", [x, same, zero]))
    try expectNativeKernels(graph)
    for (answer, expected) in try answers(graph, seed: seed) {
      #expect(numbers(answer) == numbers(expected))
    }
  }

  @Test("Sums of convolutions are exact beyond 24 bits", arguments: 0..<8)
  func integerConvolutions(seed: Int) throws {
    let kind = Self.kinds[seed % 4]
    var maker = GraphMaker(seed: seed)
    let groups = [1, 2, 12, 1][seed / 2]
    let (x, _, zero) = maker.quantized([12, 9, 8], kind.type, zero: kind.zero)
    let w = maker.bytes([24, 12 / groups, 3, 3], kind.weights)
    let large = maker.bytes([2, 12, 9, 8], kind.weights, all: kind.weights == .int8 ? -128 : 255)
    let attributes: [String: Attribute] = [
      "group": .int(groups), "strides": .ints([1 + seed % 2, 1]), "pads": .ints([1, 0, 1, 2]),
      "dilations": .ints([1, 1 + seed / 4]),
    ]
    let inputs = seed % 3 == 0 ? [x, w, zero] : [x, w, zero, maker.byte(11, kind.weights)]
    let graph = maker.finish(
      maker.node("ConvInteger", inputs, attributes), maker.node("ConvInteger", [x, large, zero]))
    try expectNativeKernels(graph)
    for (answer, expected) in try answers(graph, seed: seed) {
      #expect(numbers(answer) == numbers(expected))
    }
  }

  @Test("Quantised convolutions of every kind", arguments: 0..<16)
  func convolutions(seed: Int) throws {
    let kind = Self.kinds[seed % 4]
    var maker = GraphMaker(seed: seed)
    let (groups, channels) = [(1, 3), (1, 40), (4, 32), (32, 32)][seed / 4]
    let axes = 1 + seed % 3
    let (x, scale, zero) = maker.quantized(
      [channels] + [11, 9, 5].prefix(axes), kind.type, zero: kind.zero)
    let kernel = Array([3, 1, 3].prefix(axes))
    let w = maker.bytes([32, channels / groups] + kernel, kind.weights)
    let isEach = seed % 2 == 0
    let scales = maker.constant(
      (0..<32).map { 0.002 + 0.0001 * Float($0) }.prefix(isEach ? 32 : 1).map { $0 },
      isEach ? [32] : [])
    let weightZero =
      kind.weights == .int8
      ? maker.bytes(isEach ? [32] : [], .int8, all: 0) : maker.byte(100, .uint8)
    let bias = maker.random.tensor([32], scale: 900)
    let steps = Tensor.make(.int32, [32], as: Int32.self) { elements in
      for index in elements.indices {
        elements[index] = bias.withElements(as: Float.self) { Int32($0[index]) }
      }
    }
    maker.graph.values.append(Value(name: "bias", type: .int32, constant: steps))
    let biasID = ValueID(maker.graph.values.count - 1)
    let result = [maker.number(0.037), maker.byte(kind.type == .int8 ? -7 : 99, kind.type)]
    let pads = (0..<2 * axes).map { $0 % 2 }
    let y = maker.node(
      "QLinearConv", [x, scale, zero, w, scales, weightZero] + result + [biasID],
      [
        "group": .int(groups), "pads": .ints(pads),
        "strides": .ints((0..<axes).map { 1 + (seed + $0) % 2 }),
      ])
    let graph = maker.finish(y)
    try expectNativeKernels(graph)
    try expectSteps(answers(graph, seed: seed), atMost: 1)
  }

  @Test("Quantised products, of weights and of two values", arguments: 0..<4)
  func products(seed: Int) throws {
    let kind = Self.kinds[seed]
    var maker = GraphMaker(seed: seed)
    let (x, scale, zero) = maker.quantized([6, 35], kind.type, zero: kind.zero)
    let (z, otherScale, otherZero) = maker.quantized([35, 19], kind.weights, zero: 5)
    let w = maker.bytes([35, 40], kind.weights)
    let scales = maker.constant((0..<40).map { 0.002 + 0.0001 * Float($0) }, [40])
    let zeros = maker.bytes([40], kind.weights, all: kind.weights == .int8 ? 0 : 90)
    let result = [maker.number(0.041), maker.byte(kind.type == .int8 ? 5 : 120, kind.type)]
    let graph = maker.finish(
      maker.node("QLinearMatMul", [x, scale, zero, w, scales, zeros] + result),
      maker.node("QLinearMatMul", [x, scale, zero, z, otherScale, otherZero] + result))
    try expectNativeKernels(graph)
    try expectSteps(answers(graph, seed: seed), atMost: 1)
  }

  @Test("Ties are rounded to even before the zero point is added", arguments: 0..<2)
  func ties(seed: Int) throws {
    var maker = GraphMaker(seed: seed)
    let type: ElementType = seed == 0 ? .uint8 : .int8
    let half = maker.node("Mul", [maker.input([50]), maker.number(100)])
    let floor = maker.node("Floor", [half])
    let x = maker.node("Add", [floor, maker.number(0.5)])
    let y = maker.node("QuantizeLinear", [x, maker.number(1), maker.byte(3, type)])
    let graph = maker.finish(y)
    try expectNativeKernels(
      maker.finish(
        maker.node("QuantizeLinear", [maker.input([3]), maker.number(1), maker.byte(3, type)])))
    for (answer, expected) in try answers(graph, seed: seed) {
      #expect(numbers(answer) == numbers(expected))
    }
  }

  @Test("What belongs to one channel, and numbers that are none")
  func axes() throws {
    var maker = GraphMaker(seed: 1)
    let x = maker.input([5, 7, 3])
    let scales = maker.constant([0.01, 0.02, 0.005, 0.03, 0.011], [5])
    let zeros = maker.bytes([5], .uint8)
    let y = maker.node("QuantizeLinear", [x, scales, zeros], ["axis": .int(1)])
    let back = maker.node("DequantizeLinear", [y, scales, zeros], ["axis": .int(1)])
    let root = maker.node("Sqrt", [x])
    let undefined = maker.node(
      "QuantizeLinear", [root, maker.number(0.01), maker.byte(-9, .int8)])
    let graph = maker.finish(y, undefined)
    for (answer, expected) in try answers(graph, seed: 1) {
      #expect(numbers(answer) == numbers(expected))
    }
    try expectAgreement(maker.finish(back), seed: 1)
  }
}
