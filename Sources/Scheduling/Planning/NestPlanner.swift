/// Finds a good loop nest for a chain: dynamic programmes for several prices, groups, improvement.
struct NestPlanner {
  let chain: Chain
  let effort: Planner.Effort

  /// Loop nests from which local search starts: it ends in different places.
  private static let starts = 6

  /// The best loop nest that is found, or nil when nothing fits.
  func best() -> PlannedNest? {
    var planned = proposals().compactMap { PlannedNest(chain, $0) }
    // The order of equals is that of the proposals, so that the same instance gives the same plan.
    let order = planned.indices.sorted { (planned[$0].value, $0) < (planned[$1].value, $1) }
    planned = order.map { planned[$0] }
    guard var best = planned.first, effort != .quick else { return planned.first }
    for start in planned.prefix(Self.starts) {
      var improvement = NestImprovement(self, start)
      let improved = improvement.run()
      if improved.value < best.value { best = improved }
    }
    return best
  }

  /// Loop nests worth a look: the programmes' choices for the prices and memories of the effort.
  private func proposals() -> [LoopNest] {
    var nests: [LoopNest] = []
    func add(_ nest: LoopNest?) {
      if let nest, !nests.contains(nest) { nests.append(nest) }
    }
    let isGrouped = chain.objective == .sum
    for memory in shares {
      let together = segments(chain.samples, prices: prices, memory: memory)
      let parts = (isGrouped ? Array(groupSizes) : []).map {
        segments($0, prices: prices, memory: memory)
      }
      for price in prices.indices {
        add(
          together[price].map {
            LoopNest(groups: [.init(samples: chain.samples, segments: $0)])
          })
        if isGrouped { add(grouped(parts.map { $0[price] })) }
      }
    }
    return nests
  }

  private var prices: [Double] {
    if !chain.prefetch { return [1] }
    return effort == .quick ? [1, 0.25] : [1, 0.5, 0.25, 0.1, 0]
  }

  private var shares: [Double] {
    if !chain.prefetch || effort == .quick { return [chain.memory] }
    return [1, 0.75, 0.5].map { $0 * chain.memory }
  }

  /// The cheapest segments for a group of some samples, for each price.
  func segments(_ samples: Int, prices: [Double], memory: Double) -> [[LoopNest.Segment]?] {
    NestProgramme(
      chain: chain, samples: samples, chunks: chunks(samples), prices: prices, memory: memory
    ).segments()
  }

  /// The sizes of groups to try.
  private var groupSizes: ClosedRange<Int> { 1...min(chain.samples, effort == .quick ? 8 : 64) }

  /// All chunk sizes of a few samples; powers of two of many.
  private func chunks(_ samples: Int) -> [Int] {
    if effort != .quick, samples <= 8 { return Array((1...samples).reversed()) }
    var chunks = [samples]
    var power = 1
    while power < samples {
      chunks.append(power)
      power *= 2
    }
    return chunks
  }

  /// Groups one after another: G[n] = min over k of n · T(k) + G[n - k], the s-batch problem.
  ///
  /// - Parameter sizes: Segments for groups of 1, 2, 3… samples; nil where nothing fits.
  private func grouped(_ sizes: [[LoopNest.Segment]?]) -> LoopNest? {
    let times = sizes.enumerated().map { place, segments in
      let nest = segments.map { LoopNest(groups: [.init(samples: place + 1, segments: $0)]) }
      return nest.flatMap { Timeline(chain, $0.visits)?.makespan } ?? .infinity
    }
    var total = [0.0]
    var first = [0]
    for count in 1...chain.samples {
      var (best, choice) = (Double.infinity, 0)
      for size in 1...min(count, sizes.count) {
        let sum = Double(count) * times[size - 1] + total[count - size]
        if sum <= best { (best, choice) = (sum, size) }
      }
      total.append(best)
      first.append(choice)
    }
    var groups: [LoopNest.Group] = []
    var left = chain.samples
    while left > 0 {
      let size = first[left]
      guard size > 0, let segments = sizes[size - 1] else { return nil }
      groups.append(.init(samples: size, segments: segments))
      left -= size
    }
    return LoopNest(groups: groups)
  }
}
