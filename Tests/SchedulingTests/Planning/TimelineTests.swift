@testable import Scheduling
import Testing

@Suite("Residency on the plan")
struct TimelineTests {
  @Test(
    "T1: Belady's rule on a cyclic sweep loads far fewer blocks than least recent use would",
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
  /// Two tenants of six megabytes in turn, a sample of each a turn, in ten megabytes: the layers of
  /// both are a chain here, and a chunk of one sample keeps their turns.
  private func turns(_ number: Int) throws -> [Double] {
    let layer = Instance.Layer(
      weights: 1, activations: 0, time: .linear(fixed: 0, perSample: 1.0 / 6))
    let instance = Instance(
      layers: Array(repeating: layer, count: 12), samples: number, memory: 10, linkRate: 1,
      prefetch: false)
    let ones = Array(repeating: 1, count: 12)
    let chain = Chain(instance, kernels: ones.map { $0 - 1 }, tiles: ones)
    let nest = LoopNest(groups: [
      .init(samples: number, segments: [.init(layers: 0..<12, chunk: 1, batches: ones)])
    ])
    let timeline = try #require(Timeline(chain, nest.visits))
    return timeline.visits.indices.filter { $0 % 6 == 5 }.map { timeline.end[$0] }
  }

  @Test("T13: two tenants in turn, A B A B, are through at 7, 14, 15 and 18 by Belady's rule")
  func alternatingTenants() throws {
    let ends = try turns(2)
    for (end, expected) in zip(ends, [7.0, 14, 15, 18]) { #expect(abs(end - expected) < 1e-9) }
    #expect(ends.count == 4)
  }

  @Test("T14: sixteen requests of two tenants in turn wait 26.56 on average by Belady's rule")
  func alternatingLong() throws {
    let ends = try turns(8)
    #expect(ends.count == 16)
    #expect(abs(ends.reduce(0, +) / 16 - 26.5625) < 1e-6)
  }
}
