import Backend
import Compiler
import Models
import Reference
import Testing
import Vocabulary

@testable import CPUBackend

/// Graphs that random testing against onnxruntime (Benchmarks/Operators) found to go wrong, made
/// small.
@Suite("Graphs found at random")
struct FoundGraphsTests {
  /// Expects the answers of `Reference` from runs of all layers, and of one layer after another.
  private func expectRight(_ graph: Graph, seed: Int) throws {
    try expectAgreement(graph, seed: seed)
    var random = Seeded(seed + 2000)
    let samples = 3
    let inputs = random.inputs(of: graph, samples: samples)
    let expected = try Interpreter.run(graph, inputs: inputs)
    let answers = try runByLayer(graph, inputs, samples: samples)
    expectClose(answers, expected, "seed \(seed), layer by layer", #_sourceLocation)
  }

  /// Every other layer takes the first sample alone, then the rest.
  private func runByLayer(_ graph: Graph, _ inputs: [Tensor], samples: Int) throws -> [Tensor] {
    let program = try Compiler.compile(graph)
    let model = try CPUBackend().load(program, options: LoadOptions(maximumBatch: 4, units: [1]))
    let workspace = try model.makeWorkspace(samples: samples, inputShapes: inputs.map(\.shape))
    for (index, tensor) in inputs.enumerated() {
      workspace.setInput(
        index, samples: 0..<samples,
        from: UnsafeRawBufferPointer(start: tensor.storage.base, count: tensor.byteCount))
    }
    for layer in program.layers.indices {
      for part in layer % 2 == 0 ? [0..<samples] : [0..<1, 1..<samples] {
        try model.run(layer..<layer + 1, samples: part, in: workspace, units: 1)
      }
      workspace.releaseValues(before: layer + 1)
    }
    return graph.outputs.indices.map { workspace.output($0, samples: 0..<samples) }
  }

  @Test("A normalisation of channels that do not fill a vector leaves the padding zero")
  func paddingStaysZero() throws {
    var maker = GraphMaker(seed: 1)
    let x = maker.input([2, 5, 4])
    let y = maker.node("Conv", [x, maker.weight([3, 2, 1, 1])])
    let spread = maker.constant([1, 2, 3], [3])
    let normal = maker.node(
      "BatchNormalization",
      [y, maker.weight([3]), maker.weight([3]), maker.weight([3]), spread])
    let z = maker.node("Conv", [normal, maker.weight([3, 3, 1, 1])])
    try expectRight(maker.finish(z, maker.node("Abs", [y])), seed: 1)
  }

  @Test("What a convolution adds to its own input does not overwrite it", arguments: [1, 2, 16])
  func residualIsInput(channels: Int) throws {
    var maker = GraphMaker(seed: channels)
    let x = maker.input([channels, 6, 7])
    let y = maker.node(
      "Conv", [x, maker.weight([channels, 1, 3, 3])],
      ["group": .int(channels), "pads": .ints([1, 1, 1, 1])])
    try expectRight(
      maker.finish(maker.node("Sigmoid", [maker.node("Add", [y, x])])), seed: channels)
  }

  @Test("What a product adds to its own input does not overwrite it")
  func productResidualIsInput() throws {
    var maker = GraphMaker(seed: 4)
    let x = maker.input([9, 12])
    let y = maker.node("MatMul", [x, maker.weight([12, 12])])
    try expectRight(maker.finish(maker.node("Add", [y, x])), seed: 4)
  }

  @Test(
    "Smaller operands are repeated along every axis of what a convolution made",
    arguments: [1, 3, 16],
    [[1], [1, 1, 1], [5, 1], [1, 6], [5, 6], [1, 5, 6], [1, 1, 5, 6], [1, 1, 1, 1]])
  func repetition(channels: Int, smaller: [Int]) throws {
    var maker = GraphMaker(seed: channels)
    let x = maker.input([2, 5, 6])
    var y = maker.node("Conv", [x, maker.weight([channels, 2, 1, 1])])
    for operation in ["Min", "Sub", "Mul"] {
      y = maker.node(operation, [y, maker.weight(smaller, scale: 2)])
    }
    try expectRight(maker.finish(y), seed: channels)
  }

  @Test("A value is an output in one layout and read in another")
  func twoLayouts() throws {
    var maker = GraphMaker(seed: 6)
    let x = maker.input([4, 5, 6])
    let y = maker.node("Conv", [x, maker.weight([3, 4, 2, 3])])
    let s = maker.node("Sigmoid", [y])
    let wide = maker.node("Flatten", [s], ["axis": .int(1)])
    let lower = maker.node("Sub", [s, maker.weight([1, 4])])
    let next = maker.node("Conv", [s, maker.weight([5, 3, 1, 1])])
    try expectRight(maker.finish(wide, lower, s, next), seed: 6)
  }

  @Test("The logarithm of a certainty is exactly zero")
  func certainty() throws {
    var maker = GraphMaker(seed: 7)
    let x = maker.input([6, 1])
    let graph = maker.finish(maker.node("LogSoftmax", [x], ["axis": .int(2)]))
    var random = Seeded(7)
    let answers = try runOnCPU(graph, [random.tensor([4, 6, 1])], parts: [4])
    #expect(elements(answers[0]).allSatisfy { $0 == 0 })
  }

  @Test("What follows from shapes alone is read by kernels of their own")
  func knownOperand() throws {
    var maker = GraphMaker(seed: 8, opset: 17)
    let x = maker.input([1, 4, 4])
    let shape = maker.node("Shape", [x])
    let one = Tensor.make(.float32, [1], as: Float.self) { $0[0] = 1.5 }
    let full = maker.node("ConstantOfShape", [shape], ["value": .tensor(one)])
    let half = maker.node("Trilu", [full], ["upper": .int(0)])
    let pooled = maker.node("MaxPool", [half], ["kernel_shape": .ints([2, 2])])
    try expectRight(maker.finish(pooled, maker.node("Relu", [x])), seed: 8)
  }

  @Test("Heads of attention cut from one product change places with the samples")
  func samplesBehind() throws {
    var maker = GraphMaker(seed: 77)
    let x = maker.input([5, 12])
    let parts = maker.node("Reshape", [x, maker.integers([0, 5, 3, 2, 2])])
    let turned = maker.node("Transpose", [parts], ["perm": .ints([2, 0, 3, 1, 4])])
    let first = maker.node(
      "Squeeze",
      [
        maker.node(
          "Slice", [turned, maker.integers([0]), maker.integers([1]), maker.integers([0])]),
        maker.integers([0]),
      ])
    let second = maker.node(
      "Squeeze",
      [
        maker.node(
          "Slice", [turned, maker.integers([1]), maker.integers([2]), maker.integers([0])]),
        maker.integers([0]),
      ])
    try expectRight(maker.finish(maker.node("Mul", [first, second])), seed: 77)
  }
}
