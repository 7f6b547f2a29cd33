import Backend
import Compiler
import Models
import Reference
import Testing
import Vocabulary

@testable import CPUBackend

@Suite("Quantised networks")
struct QuantizedNetworkTests {
  /// What a quantising tool makes of a small network: everything between quantisation nodes.
  private struct Network {
    var maker: GraphMaker
    let type: ElementType
    let zero: ValueID

    init(seed: Int, _ type: ElementType) {
      maker = GraphMaker(seed: seed)
      self.type = type
      zero = maker.byte(type == .int8 ? -11 : 117, type)
    }

    mutating func quantized(_ x: ValueID, _ step: Float) -> ValueID {
      let scale = maker.number(step)
      let y = maker.node("QuantizeLinear", [x, scale, zero])
      return maker.node("DequantizeLinear", [y, scale, zero])
    }

    mutating func weights(_ shape: [Int], axis: Int) -> ValueID {
      let w = maker.bytes(shape, .int8)
      let count = shape[axis]
      let scales = maker.constant((0..<count).map { 0.002 + 0.0001 * Float($0 % 9) }, [count])
      return maker.node(
        "DequantizeLinear", [w, scales, maker.bytes([count], .int8, all: 0)],
        ["axis": .int(axis)])
    }

    mutating func convolution(_ x: ValueID, _ shape: [Int], pad: Int, group: Int = 1) -> ValueID {
      let inputs = [x, weights(shape, axis: 0), maker.weight([shape[0]])]
      return maker.node(
        "Conv", inputs, ["pads": .ints([pad, pad, pad, pad]), "group": .int(group)])
    }

    /// All that is folded, one after another.
    mutating func finish() -> Graph {
      let x = quantized(maker.input([3, 12, 10]), 0.01)
      let a = quantized(maker.node("Relu", [convolution(x, [16, 3, 3, 3], pad: 1)]), 0.02)
      let bounds = [maker.number(0), maker.number(1.5)]
      let depthwise = convolution(a, [16, 1, 3, 3], pad: 1, group: 16)
      let b = quantized(maker.node("Clip", [depthwise] + bounds), 0.011)
      let c = quantized(maker.node("Relu", [maker.node("Add", [a, b])]), 0.017)
      let d = quantized(
        maker.node("Sigmoid", [quantized(convolution(c, [16, 16, 1, 1], pad: 0), 0.03)]), 0.004)
      let e = quantized(maker.node("Mul", [c, d]), 0.013)
      let f = quantized(maker.node("Concat", [e, c], ["axis": .int(1)]), 0.017)
      let g = quantized(
        maker.node("MaxPool", [f], ["kernel_shape": .ints([2, 2]), "strides": .ints([2, 2])]),
        0.017)
      let h = quantized(maker.node("GlobalAveragePool", [g]), 0.009)
      let flat = quantized(maker.node("Flatten", [h]), 0.009)
      let product = maker.node(
        "Gemm", [flat, weights([10, 32], axis: 0), maker.weight([10])], ["transB": .int(1)])
      return maker.finish(quantized(product, 0.02), product)
    }
  }

  private func run(_ program: Program, _ input: Tensor) throws -> [Tensor] {
    let samples = input.shape[0]
    let model = try CPUBackend().load(
      program, options: LoadOptions(maximumBatch: samples, units: [1]))
    let workspace = try model.makeWorkspace(samples: samples, inputShapes: [input.shape])
    workspace.setInput(
      0, samples: 0..<samples,
      from: UnsafeRawBufferPointer(start: input.storage.base, count: input.byteCount))
    try model.run(0..<program.layers.count, samples: 0..<samples, in: workspace, units: 1)
    return program.graph.outputs.indices.map { workspace.output($0, samples: 0..<samples) }
  }

  @Test(
    "Folded or not, a network of every folded operator answers the same up to one step",
    arguments: [ElementType.uint8, .int8], 0..<3)
  func folding(type: ElementType, seed: Int) throws {
    var network = Network(seed: seed, type)
    let graph = network.finish()
    let folded = try Compiler.compile(graph)
    let plain = try Compiler.compile(
      graph, options: CompileOptions(passes: .all.subtracting(.quantization)))
    let names = Set(folded.graph.nodes.map(\.operation))
    #expect(
      names.isSuperset(of: [
        "QuantizedConv", "QuantizedAdd", "QuantizedMul", "QuantizedGlobalAveragePool", "Lookup",
        "QuantizedMatMul", "Concat", "MaxPool",
      ]))
    #expect(names.isDisjoint(with: ["Conv", "FusedConv", "FusedGemm", "Add", "Mul", "Sigmoid"]))
    #expect(
      !plain.graph.nodes.contains { $0.domain == "stowage" && $0.operation.hasPrefix("Quan") })
    var random = Seeded(seed + 77)
    let input = random.tensor([3, 3, 12, 10])
    let (one, other) = (try run(folded, input), try run(plain, input))
    let right = try Interpreter.run(graph, inputs: [input])
    for (answer, expected) in [(one[0], other[0]), (one[0], right[0]), (other[0], right[0])] {
      let differences = zip(elements(answer), elements(expected)).map { abs($0 - $1) }
      #expect(differences.max() ?? 0 <= 0.0201)
      #expect(Set(elements(expected)).count > 5)
    }
  }

  @Test("Weights quantised, activations as they come", arguments: 0..<4)
  func dynamic(seed: Int) throws {
    var maker = GraphMaker(seed: seed)
    let x = maker.input([4, 64])
    let parts = maker.nodes("DynamicQuantizeLinear", [x], [:], count: 3)
    let type: ElementType = seed % 2 == 0 ? .int8 : .uint8
    let w = maker.bytes([64, 50], type)
    let zero = maker.byte(type == .int8 ? 0 : 121, type)
    let sums = maker.node("MatMulInteger", [parts[0], w, parts[2], zero])
    let real = maker.node("Cast", [sums], ["to": .int(1)])
    let scales =
      seed < 2 ? maker.number(0.003) : maker.constant((0..<50).map { 0.001 * Float($0 + 1) }, [50])
    let product = maker.node("Mul", [real, maker.node("Mul", [parts[1], scales])])
    let graph = maker.finish(
      maker.node("Relu", [maker.node("Add", [product, maker.weight([50])])]))
    let program = try Compiler.compile(graph)
    #expect(program.graph.nodes.contains { $0.operation == "ScaledMatMulInteger" })
    try expectAgreement(graph, seed: seed)
  }

  @Test("Operators of onnxruntime's tools mean what the standard ones around them say")
  func vendorOperators() throws {
    var maker = GraphMaker(seed: 3)
    let (x, scale, zero) = maker.quantized([8, 6, 5], .uint8, zero: 120)
    let (z, otherScale, otherZero) = maker.quantized([8, 6, 5], .uint8, zero: 99)
    let result = [maker.number(0.019), maker.byte(110, .uint8)]
    func vendor(_ operation: String, _ inputs: [ValueID], _ attributes: [String: Attribute] = [:])
      -> ValueID
    {
      let id = maker.node(operation, inputs, attributes)
      maker.graph.nodes[maker.graph.nodes.count - 1].domain = "com.microsoft"
      maker.graph.nodes[maker.graph.nodes.count - 1].opset = 1
      return id
    }
    let sum = vendor("QLinearAdd", [x, scale, zero, z, otherScale, otherZero] + result)
    let mean = vendor("QLinearGlobalAveragePool", [x, scale, zero] + result)
    let sigmoid = vendor("QLinearSigmoid", [x, scale, zero] + result)
    let joined = vendor(
      "QLinearConcat", result + [x, scale, zero, z, otherScale, otherZero], ["axis": .int(1)])
    let graph = maker.finish(sum, mean, sigmoid, joined)
    let real = [(x, scale, zero), (z, otherScale, otherZero)].map {
      maker.node("DequantizeLinear", [$0.0, $0.1, $0.2])
    }
    let spelled = [
      maker.node("Add", real), maker.node("GlobalAveragePool", [real[0]]),
      maker.node("Sigmoid", [real[0]]), maker.node("Concat", real, ["axis": .int(1)]),
    ].map { maker.node("QuantizeLinear", [$0] + result) }
    maker.graph.outputs = spelled
    maker.graph.nodes.removeAll { $0.domain == "com.microsoft" }
    var random = Seeded(9)
    let inputs = random.inputs(of: graph, samples: 3)
    let expected = try Interpreter.run(maker.graph, inputs: inputs)
    for (answer, right) in zip(try runOnCPU(graph, inputs, parts: [3]), expected) {
      #expect(answer.shape == right.shape)
      let (a, b) = [answer, right].map { $0.withElements(as: UInt8.self) { $0.map(Int.init) } }.pair
      #expect(zip(a, b).allSatisfy { abs($0 - $1) <= 1 })
      #expect(zip(a, b).filter { $0 != $1 }.count * 100 <= a.count)
    }
  }
}

extension Array {
  fileprivate var pair: (Element, Element) { (self[0], self[1]) }
}
