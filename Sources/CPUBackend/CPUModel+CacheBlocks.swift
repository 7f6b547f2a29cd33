import Backend
import Models
import Threads
import Vocabulary

extension CPUModel {
  /// The blocks in which samples go through layers.
  func blocks(
    _ layers: Range<Int>, _ samples: Int, _ inputShapes: [[Int]], _ units: Int
  ) throws(ModelError) -> [CacheBlock] {
    guard samples > 1, layers.count > 1 else {
      return [CacheBlock(layers: layers, samples: samples)]
    }
    let single = try planOfOne(inputShapes: inputShapes)
    let key = Plan.BlockKey(layers: layers, samples: samples, units: units)
    if let known = single.blocks.withLock({ $0[key] }) { return known }
    let traffic = layers.map { single.traffic($0, weights: weights.byteCount(layer: $0)) }
    var blocks = CacheBlocking(units: units).blocks(
      traffic, first: layers.lowerBound, samples: samples, least: units)
    // What a run may take was planned for without blocks.
    if single.byteCount(of: blocks, traffic, samples) > samples * single.arena(layers).byteCount {
      blocks = [CacheBlock(layers: layers, samples: samples)]
    }
    single.blocks.withLock { known in
      if known.count >= Limits.arenasPerPlan { known.removeAll(keepingCapacity: true) }
      known[key] = blocks
    }
    return blocks
  }
}

extension Plan {
  /// What tells cuts into blocks apart.
  struct BlockKey: Hashable {
    var layers: Range<Int>
    var samples: Int
    var units: Int
  }

  /// What a layer of this plan, which is for one sample, moves.
  func traffic(_ layer: Int, weights: Int) -> CacheTraffic {
    let steps = layers[layer]
    var touched: Set<Int> = []
    for step in self.steps[steps] {
      for case .buffer(let buffer) in step.operands { touched.insert(root(buffer)) }
    }
    let living = valuesAlive(after: steps).filter { buffers[$0].isBatched }
    return CacheTraffic(
      weights: weights, touched: touched.reduce(0) { $0 + buffers[$1].byteCount },
      border: living.reduce(0) { $0 + buffers[$1].byteCount }, kernels: steps.count)
  }

  /// The most bytes that a run in blocks takes besides what comes from before it and goes beyond.
  fileprivate func byteCount(
    of blocks: [CacheBlock], _ traffic: [CacheTraffic], _ samples: Int
  ) -> Int {
    guard let first = blocks.first?.layers.lowerBound, let end = blocks.last?.layers.upperBound
    else { return 0 }
    return blocks.map { block in
      let range = block.layers
      let before = range.lowerBound > first ? traffic[range.lowerBound - first - 1].border : 0
      let after = range.upperBound < end ? traffic[range.upperBound - first - 1].border : 0
      return samples * (before + after) + block.samples * arena(range).byteCount
    }.max() ?? 0
  }
}
