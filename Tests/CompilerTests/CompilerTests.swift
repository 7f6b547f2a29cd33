import Models
import Testing

@testable import Compiler

@Suite("Compiling")
struct CompilerTests {
  /// Two residual units with normalisation, pooling and a classifier.
  static func residualNetwork(batch: Dimension) -> Graph {
    let builder = GraphBuilder(opset: 12)
    func unit(_ x: ValueID, _ channels: Int, activation: Bool) -> ValueID {
      let w = builder.weight([channels, channels, 3, 3], from: -0.3, to: 0.3)
      let y = builder.node("Conv", [x, w], ["pads": .ints([1, 1, 1, 1])])
      let parameters = [
        builder.weight([channels]), builder.weight([channels]), builder.weight([channels]),
        builder.weight([channels], from: 0.5, to: 2),
      ]
      let z = builder.node("BatchNormalization", [y] + parameters)
      return activation ? builder.node("Relu", [z]) : z
    }
    let x = builder.input("x", [batch, 4, 6, 6])
    var y = x
    for _ in 0..<2 {
      let inner = unit(unit(y, 4, activation: true), 4, activation: false)
      y = builder.node("Relu", [builder.node("Add", [inner, y])])
    }
    y = builder.node("GlobalAveragePool", [y])
    y = builder.node("Reshape", [y, builder.ints([1, -1])])
    y = builder.node("Gemm", [y, builder.weight([4, 5]), builder.weight([5])])
    return builder.finish(builder.node("Softmax", [y], ["axis": .int(1)]))
  }

  @Test("A residual network becomes fused layers with the same answers")
  func residual() throws {
    let program = try expectSameAnswers(
      Self.residualNetwork(batch: 1), shapes: [[1, 4, 6, 6]])
    let operations = program.graph.nodes.map(\.operation)
    #expect(
      operations == Array(repeating: "FusedConv", count: 4) + [
        "GlobalAveragePool", "Reshape", "FusedGemm", "Softmax",
      ])
    #expect(program.layers.count == 7)
    #expect(program.graph.nodes[1].inputs.count == 4)
    #expect(program.graph.nodes[1].string("activation", default: "") == "Relu")
  }

  @Test(
    "Every pass can be switched off without changing an answer",
    arguments: [
      .constantFolding, .simplification, .convolutionFolding, .activationPatterns,
      .normalizationPatterns, .attention, .layerFusion, .all,
    ] as [CompileOptions.Passes])
  func switches(pass: CompileOptions.Passes) throws {
    let options = CompileOptions(passes: CompileOptions.Passes.all.subtracting(pass))
    try expectSameAnswers(
      Self.residualNetwork(batch: 1), shapes: [[1, 4, 6, 6]], options: options)
  }

  @Test("A network exported for one sample is batched")
  func batched() throws {
    try expectBatched(Self.residualNetwork(batch: 1), sampleShapes: [[4, 6, 6]])
  }

  @Test("Layers cover all nodes in order and know what lives across their borders")
  func layers() throws {
    let program = try Compiler.compile(Self.residualNetwork(batch: 1))
    #expect(program.layers.first?.nodes.lowerBound == 0)
    #expect(program.layers.last?.nodes.upperBound == program.graph.nodes.count)
    for (layer, next) in zip(program.layers, program.layers.dropFirst()) {
      #expect(layer.nodes.upperBound == next.nodes.lowerBound)
    }
    let input = program.graph.inputs[0]
    #expect(program.layers[0].liveAfter.count == 2)
    #expect(program.layers[0].liveAfter.contains(input))
    #expect(program.layers.last?.liveAfter == program.graph.outputs)
    #expect(program.layers[0].weights.count == 2)
  }

  @Test("Symbols that requests decide besides the batch are listed")
  func freeSymbols() throws {
    let builder = GraphBuilder()
    let x = builder.input("x", ["N", 3, "H", "W"])
    let y = builder.node("Conv", [x, builder.weight([4, 3, 3, 3])])
    let program = try Compiler.compile(builder.finish(builder.node("Relu", [y])))
    #expect(program.freeSymbols == ["H", "W"])
    guard case .independent(let symbol) = program.batching else {
      Issue.record("\(program.batching)")
      return
    }
    #expect(symbol == "N")
  }

  @Test("An operator that is not known is refused by name")
  func unsupported() {
    let builder = GraphBuilder()
    let x = builder.input("x", ["N"])
    let graph = builder.finish(builder.node("RandomNormalLike", [x], name: "noise"))
    do {
      _ = try Compiler.compile(graph)
      Issue.record("It was compiled.")
    } catch {
      #expect(error.description.contains("'noise'"))
      #expect(error.description.contains("RandomNormalLike"))
      #expect(error.description.contains("opset 17"))
    }
  }
}
