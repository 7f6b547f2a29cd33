import Backend
import Compiler
import Models
import Testing
import Vocabulary

@testable import CPUBackend

@Suite("Cache blocks")
struct CacheBlocksTests {
  @Test("First layers with large values go sample by sample, last ones with large weights together")
  func firstAndLast() {
    let large = CacheTraffic(weights: 1 << 12, touched: 2 << 20, border: 1 << 20, kernels: 1)
    let last = CacheTraffic(weights: 8 << 20, touched: 1 << 14, border: 1 << 13, kernels: 1)
    let layers = [large, large, large, last, last]
    let blocks = CacheBlocking(units: 1, cache: 2 << 20).blocks(layers, first: 4, samples: 16)
    #expect(
      blocks == [CacheBlock(layers: 4..<7, samples: 1), CacheBlock(layers: 7..<9, samples: 16)])
  }

  @Test("Values that stay in the cache all the same are not cut")
  func small() {
    let layer = CacheTraffic(weights: 1 << 10, touched: 1 << 14, border: 1 << 13, kernels: 1)
    let blocks = CacheBlocking(units: 1, cache: 2 << 20)
      .blocks([layer, layer], first: 0, samples: 8)
    #expect(blocks == [CacheBlock(layers: 0..<2, samples: 8)])
  }

  @Test("Every unit has a sample, where there are as many")
  func units() {
    let layer = CacheTraffic(weights: 1 << 10, touched: 8 << 20, border: 4 << 20, kernels: 1)
    let blocking = CacheBlocking(units: 2, cache: 2 << 20)
    #expect(
      blocking.blocks([layer, layer], first: 0, samples: 6, least: 2)
        == [CacheBlock(layers: 0..<2, samples: 2)])
    #expect(
      blocking.blocks([layer, layer], first: 0, samples: 1, least: 2)
        == [CacheBlock(layers: 0..<2, samples: 1)])
  }

  @Test("No other cut moves fewer bytes", arguments: 0..<50)
  func fewest(seed: Int) {
    var random = Seeded(seed)
    let layers = (0..<4).map { _ in
      let numbers = random.floats(4).map { Double(abs($0)) }
      let border = 1 << Int(10 + 12 * numbers[0])
      return CacheTraffic(
        weights: 1 << Int(8 + 16 * numbers[1]), touched: border * Int(1 + 2 * numbers[2]),
        border: border, kernels: Int(1 + 2 * numbers[3]))
    }
    let (samples, sizes) = (6, [6, 4, 2, 1])
    let blocking = CacheBlocking(units: 1, cache: 1 << 20)
    let blocks = blocking.blocks(layers, first: 0, samples: samples)
    let chosen = blocks.flatMap { block in block.layers.map { _ in block.samples } }
    #expect(chosen.count == layers.count && chosen.allSatisfy(sizes.contains))
    var all: [[Int]] = [[]]
    for _ in layers { all = all.flatMap { cut in sizes.map { cut + [$0] } } }
    let fewest = all.map { Self.bytes(layers, $0, samples, blocking) }.min() ?? 0
    #expect(Self.bytes(layers, chosen, samples, blocking) <= fewest * 1.000001, "seed \(seed)")
  }

  /// What a cut moves, counted from its definition.
  private static func bytes(
    _ layers: [CacheTraffic], _ cut: [Int], _ samples: Int, _ blocking: CacheBlocking
  ) -> Double {
    var sum = 0.0
    for (index, layer) in layers.enumerated() {
      let runs = (Double(samples) / Double(cut[index])).rounded(.up)
      sum += runs * Double(layer.weights + layer.kernels * blocking.bytesPerKernel)
      guard index + 1 < layers.count else { break }
      let isCut = cut[index] != cut[index + 1]
      let used =
        isCut
        ? samples * layer.border : cut[index] * max(layer.touched, layers[index + 1].touched)
      let kept = min(Double(blocking.cache) * 2 / 3 / Double(used), 1)
      sum += 2 * Double(samples * layer.border) * (1 - kept)
    }
    return sum
  }

  @Test("Blocks change neither bits nor what a run may take", arguments: [1, 2])
  func sameBits(units: Int) throws {
    var maker = GraphMaker(seed: 3)
    let x = maker.input([16, 96, 96])
    let pads: [String: Attribute] = ["pads": .ints([1, 1, 1, 1])]
    var value = x
    for _ in 0..<3 {
      value = maker.node("Conv", [value, maker.weight([32, value == x ? 16 : 32, 3, 3])], pads)
      value = maker.node("Relu", [value])
    }
    value = maker.node(
      "MaxPool", [value], ["kernel_shape": .ints([8, 8]), "strides": .ints([8, 8])])
    let program = try Compiler.compile(
      maker.finish(maker.node("Conv", [value, maker.weight([512, 32, 12, 12])])))
    var random = Seeded(4)
    let input = random.tensor([8, 16, 96, 96])
    let all = program.layers.indices
    let answers = try [[all], all.map { $0..<$0 + 1 }].map { runs in
      let pool = MemoryPool()
      let model = try CPUModel(
        program, options: LoadOptions(maximumBatch: 8, units: [1, 2]), families: .all,
        memory: pool)
      let workspace = try model.makeWorkspace(samples: 8, inputShapes: [[8, 16, 96, 96]])
      workspace.setInput(0, samples: 0..<8, to: input)
      let before = pool.use.used.bytes
      for layers in runs {
        try model.run(layers, samples: 0..<8, in: workspace, units: units)
      }
      let single = try model.plan(samples: 1, inputShapes: [[1, 16, 96, 96]], units: units)
      if runs.count == 1 {
        let (taken, planned) = (pool.use.peak.bytes - before, 8 * single.arena(all).byteCount)
        #expect(taken <= planned + 8 * 512 * 4)
      }
      return elements(workspace.output(0, samples: 0..<8))
    }
    #expect(answers[0] == answers[1])
  }
}
