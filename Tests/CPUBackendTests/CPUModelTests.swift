import Backend
import Compiler
import Models
import Testing
import Vocabulary

@testable import CPUBackend

@Suite("CPU model")
struct CPUModelTests {
  @Test("A network that leaves nothing of a small picture is planned for a larger one")
  func largePictures() throws {
    var maker = GraphMaker(seed: 1)
    let x = maker.input([2, 1, 1])
    maker.graph[x].shape = [.symbol("n"), .fixed(2), .symbol("h"), .symbol("w")]
    var value = x
    for _ in 0..<6 {
      value = maker.node(
        "MaxPool", [value], ["kernel_shape": .ints([2, 2]), "strides": .ints([2, 2])])
    }
    let graph = maker.finish(maker.node("GlobalAveragePool", [value]))
    let program = try Compiler.compile(graph)
    #expect(program.exampleShapes == [[1, 2, 64, 64]])
    var random = Seeded(1)
    let answers = try runOnCPU(graph, [random.tensor([2, 2, 130, 70])], parts: [2])
    #expect(answers[0].shape == [2, 2, 1, 1])
  }

  @Test("Convolutions have kernels for pictures of every size", arguments: Precision.allCases)
  func sizes(precision: Precision) throws {
    guard CPUBackend().refusal(of: precision) == nil else { return }
    var maker = GraphMaker(seed: 2)
    let x = maker.input([32, 1, 1])
    maker.graph[x].shape = [.symbol("n"), .fixed(32), .symbol("h"), .symbol("w")]
    let pads: [String: Attribute] = ["pads": .ints([1, 1, 1, 1])]
    let a = maker.node("Conv", [x, maker.weight([64, 32, 3, 3], scale: 0.1)], pads)
    let b = maker.node("Conv", [a, maker.weight([48, 64, 1, 1], scale: 0.1)])
    let program = try Compiler.compile(
      maker.finish(maker.node("Conv", [b, maker.weight([32, 48, 3, 3], scale: 0.1)], pads)))
    let model = try CPUModel(
      program, options: LoadOptions(maximumBatch: 4, units: [1, 2], precision: precision),
      families: .all, memory: MemoryPool())
    for (height, width) in [(1, 1), (5, 3), (14, 14), (48, 96), (64, 7), (112, 112)] {
      for samples in [1, 2, 4] {
        let plan = try model.plan(
          samples: samples, inputShapes: [[1, 32, height, width]], units: samples % 2 + 1)
        #expect(!plan.steps.contains { $0.kernel is ReferenceKernel }, "\(height) x \(width)")
      }
    }
  }

  /// Samples that reached a layer in runs of their own lie apart and are laid together there, which
  /// takes their memory once more (found by four networks, killed in half of their memory).
  @Test("What a run may take is planned for, when its samples came apart")
  func gathered() throws {
    var maker = GraphMaker(seed: 6)
    let x = maker.input([32, 24, 24])
    let pads: [String: Attribute] = ["pads": .ints([1, 1, 1, 1])]
    let a = maker.node("Conv", [x, maker.weight([32, 32, 3, 3], scale: 0.1)], pads)
    let b = maker.node("Relu", [maker.node("Conv", [a, maker.weight([64, 32, 3, 3])], pads)])
    let program = try Compiler.compile(maker.finish(maker.node("GlobalAveragePool", [b])))
    let pool = MemoryPool()
    let model = try CPUModel(
      program, options: LoadOptions(maximumBatch: 8, units: [1]), families: .all, memory: pool)
    let workspace = try model.makeWorkspace(samples: 8, inputShapes: [[8, 32, 24, 24]])
    var random = Seeded(6)
    workspace.setInput(0, samples: 0..<8, to: random.tensor([8, 32, 24, 24]))
    for sample in 0..<8 {
      try model.run(0..<1, samples: sample..<sample + 1, in: workspace, units: 1)
      workspace.releaseValues(before: 1, samples: sample..<sample + 1)
    }
    let before = pool.use.used.bytes
    try model.run(1..<2, samples: 0..<8, in: workspace, units: 1)
    let layer = model.layers[1]
    let planned = 8 * (layer.activations.bytes + layer.scratch.bytes)
    #expect(pool.use.peak.bytes - before <= planned)
  }
}
