import Backend
import Compiler
import Models
import Reference
import Testing
import Vocabulary

@testable import CPUBackend

@Suite("Layers with several kernels")
struct AlternativeKernelTests {
  /// Convolutions that minimal filtering suits, with everything that may follow them, and others.
  private func network(seed: Int) -> Graph {
    var maker = GraphMaker(seed: seed)
    let pads: [String: Attribute] = ["pads": .ints([1, 1, 1, 1])]
    let x = maker.input([32, 20, 20])
    let a = maker.node("Conv", [x, maker.weight([32, 32, 3, 3], scale: 0.1)], pads)
    let b = maker.node("Relu", [a])
    let c = maker.node("Conv", [b, maker.weight([32, 32, 3, 3], scale: 0.1)], pads)
    let d = maker.node("Add", [c, x])
    let e = maker.node(
      "Sigmoid", [maker.node("Conv", [d, maker.weight([48, 32, 1, 1], scale: 0.2)])])
    let f = maker.node("Conv", [e, maker.weight([64, 48, 3, 3], scale: 0.1)], pads)
    let g = maker.node("Mul", [f, maker.node("Sigmoid", [f])])
    return maker.finish(
      maker.node("MaxPool", [g], ["kernel_shape": .ints([2, 2]), "strides": .ints([2, 2])]))
  }

  private func load(_ program: Program, _ options: LoadOptions) throws -> CPUModel {
    try CPUModel(program, options: options, families: .minimalFiltering, memory: MemoryPool())
  }

  @Test("Whichever kernels compute the layers, answers agree", arguments: 0..<4)
  func answers(seed: Int) throws {
    let graph = network(seed: seed)
    let program = try Compiler.compile(graph)
    let weights = MemoryWeights()
    let model = try load(
      program, LoadOptions(maximumBatch: 4, units: [1], weights: weights, offersAlternatives: true))
    let choices = model.layers.indices.filter { !model.layers[$0].alternatives.isEmpty }
    // oneDNN from 3.0 on does not filter minimally: nothing to choose from, and nothing wrong.
    #expect(choices.isEmpty == (model.alternative == nil))
    for layer in choices {
      let other = model.layers[layer].alternatives[0]
      #expect(other.weights < model.layers[layer].weights)
      #expect(weights.byteCount(layer: layer, kernel: 1) == other.weights.bytes)
    }
    var random = Seeded(seed + 500)
    let inputs = random.inputs(of: graph, samples: 3)
    let expected = try Interpreter.run(graph, inputs: inputs)
    for pattern in 0..<1 << choices.count {
      let workspace = try model.makeWorkspace(samples: 3, inputShapes: inputs.map(\.shape))
      for (index, tensor) in inputs.enumerated() {
        workspace.setInput(index, samples: 0..<3, to: tensor)
      }
      let kernels = model.layers.indices.map { layer in
        choices.firstIndex(of: layer).map { pattern >> $0 & 1 } ?? 0
      }
      // Two samples go through all layers at once, the third with a stop at each border.
      try model.run(
        model.layers.indices, kernels: kernels[...], samples: 0..<2, in: workspace, units: 1)
      for layer in model.layers.indices {
        try model.run(
          layer..<layer + 1, kernels: [kernels[layer]], samples: 2..<3, in: workspace, units: 1)
      }
      let answers = graph.outputs.indices.map { workspace.output($0, samples: 0..<3) }
      expectClose(answers, expected, "seed \(seed), kernels \(kernels)", #_sourceLocation)
    }
  }

  @Test("What layers took before is taken from there, and other kernels are made when asked for")
  func knownFootprints() throws {
    let program = try Compiler.compile(network(seed: 9))
    var options = LoadOptions(maximumBatch: 2, units: [1], offersAlternatives: true)
    let first = try load(program, options)
    options.footprints = first.layers
    let second = try load(program, options)
    #expect(second.layers == first.layers)
    #expect((second.alternative == nil) == (first.alternative == nil))
    options.offersAlternatives = false
    options.footprints = nil
    options.weights = MemoryWeights()
    #expect(try load(program, options).layers.allSatisfy(\.alternatives.isEmpty))
  }
}
