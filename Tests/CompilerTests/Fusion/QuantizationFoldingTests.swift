import Models
import Reference
import Testing
import Vocabulary

@testable import Compiler

@Suite("Quantisation folding")
struct QuantizationFoldingTests {
  private func int8(_ builder: GraphBuilder, _ elements: [Int8], _ shape: [Int]) -> ValueID {
    builder.constant(
      .make(.int8, shape, as: Int8.self) { target in
        for (index, element) in elements.enumerated() { target[index] = element }
      })
  }

  /// A convolution between quantisation nodes, with one scale per output channel.
  private func network() -> Graph {
    let builder = GraphBuilder()
    let x = builder.input("x", ["N", 2, 4, 4])
    let scale = builder.scalar(0.02)
    let zero = int8(builder, [3], [])
    let quantized = builder.node("QuantizeLinear", [x, scale, zero])
    let input = builder.node("DequantizeLinear", [quantized, scale, zero])
    let elements: [Int8] = (0..<54).map { (place: Int) -> Int8 in Int8(place * 7 % 51 - 25) }
    let weights = int8(builder, elements, [3, 2, 3, 3])
    let weightScale = builder.weight([3], from: 0.01, to: 0.05)
    let weightZero = int8(builder, [0, 0, 0], [3])
    let w = builder.node(
      "DequantizeLinear", [weights, weightScale, weightZero], ["axis": .int(0)])
    let y = builder.node("Relu", [builder.node("Conv", [input, w, builder.weight([3])])])
    let outputScale = builder.scalar(0.03)
    let outputZero = int8(builder, [-128], [])
    let result = builder.node("QuantizeLinear", [y, outputScale, outputZero])
    return builder.finish(
      builder.node("DequantizeLinear", [result, outputScale, outputZero]))
  }

  @Test("A convolution between quantisation nodes computes with integers, one step off at most")
  func convolution() throws {
    let graph = network()
    let program = try Compiler.compile(graph)
    #expect(
      program.graph.nodes.map(\.operation) == [
        "QuantizeLinear", "QuantizedConv", "DequantizeLinear",
      ])
    var random = SeededGenerator(seed: 3)
    let input = random.tensor([2, 2, 4, 4])
    let expected = try Interpreter.run(graph, inputs: [input])[0]
    let actual = try Interpreter.run(program.graph, inputs: [input])[0]
    let worst = zip(actual.elements, expected.elements).map { abs($0 - $1) }.max() ?? 0
    #expect(worst <= 0.031, "seed 3")
    #expect(Set(expected.elements).count > 4)
  }

  @Test("Without the pass weights become real numbers")
  func real() throws {
    let options = CompileOptions(passes: .all.subtracting(.quantization))
    let program = try expectSameAnswers(network(), shapes: [[2, 2, 4, 4]], options: options)
    let weights = program.graph.nodes.first { $0.operation == "FusedConv" }?.inputs[1]
    let constant = try program.graph[#require(weights)].constant
    #expect(constant?.type == .float32)
  }

  @Test("A Concat of which one part cannot be folded stays real as a whole")
  func unfoldedConcat() throws {
    let builder = GraphBuilder()
    let zero = int8(builder, [3], [])
    func real(_ x: ValueID, _ step: Float) -> ValueID {
      let scale = builder.scalar(step)
      let quantized = builder.node("QuantizeLinear", [x, scale, zero])
      return builder.node("DequantizeLinear", [quantized, scale, zero])
    }
    let x = builder.input("x", ["N", 2, 4])
    let (first, second) = (real(x, 0.02), real(x, 0.03))
    let joined = builder.node("Concat", [first, second], ["axis": .int(1)])
    let scale = builder.scalar(0.01)
    let result = builder.node("QuantizeLinear", [joined, scale, zero])
    // Somebody else reads the second part as a real value.
    let graph = builder.finish(
      builder.node("DequantizeLinear", [result, scale, zero]), builder.node("Exp", [second]))
    let program = try expectSameAnswers(graph, shapes: [[2, 2, 4]])
    #expect(!program.graph.nodes.contains { $0.operation == "Lookup" })
  }
}
