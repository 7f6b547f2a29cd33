@testable import Scheduling
import Testing

@Suite("Residency on the plan")
struct TimelineTests {
  @Test(
    "Belady's rule on a cyclic sweep loads far fewer blocks than least recent use, that misses all",
    arguments: [(10, 9, 31), (10, 5, 115), (20, 10, 220)])
  func cyclicSweep(blocks: Int, frames: Int, loads: Int) throws {
    let layer = Instance.Layer(
      weights: 1, activations: 0, time: .linear(fixed: 0, perSample: 1))
    let instance = Instance(
      layers: Array(repeating: layer, count: blocks), samples: 20, memory: Double(frames),
      linkRate: 1, prefetch: false)
    let ones = Array(repeating: 1, count: blocks)
    let chain = Chain(instance, kernels: ones.map { $0 - 1 }, tiles: ones)
    let nest = LoopNest(groups: [
      .init(samples: 20, segments: [.init(layers: 0..<blocks, chunk: 1, batches: ones)])
    ])
    let timeline = try #require(Timeline(chain, nest.visits))
    #expect(timeline.loads.count == loads)
  }
}
