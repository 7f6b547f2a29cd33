/// What no plan can be better than, for the whole instance or for what is left of it.
///
/// Work: every sample passes every layer, at best in the batches with the least time. Link: the
/// weights of each layer that is still needed come in once, and the last of them is computed with
/// afterwards. Without prefetch both happen one after another; with it neither can be hidden
/// entirely behind the other.
struct LowerBound {
  private let chain: Chain
  /// The least time per sample of each layer, in a batch of any size.
  private let rates: [Double]
  /// The least time of one step of a layer and one of each after it.
  private let tails: [Double]

  init(_ chain: Chain) {
    self.chain = chain
    var tails = Array(repeating: 0.0, count: chain.count + 1)
    var rates: [Double] = []
    for layer in 0..<chain.count {
      rates.append(
        (1...chain.samples).map { chain.shortest(layer, $0) / Double($0) }.min() ?? 0)
    }
    for layer in (0..<chain.count).reversed() {
      let least = (1...chain.samples).map { chain.time(layer, $0) }.min() ?? 0
      tails[layer] = tails[layer + 1] + least
    }
    self.rates = rates
    self.tails = tails
  }

  /// The bound of the instance from the beginning.
  var whole: Double {
    let bound = remaining(
      busy: 0, samples: { $0 == 0 ? chain.samples : 0 }, isMissing: { chain.weights[$0] > 0 })
    return chain.objective == .makespan ? max(bound, crowded) : bound
  }

  /// The bound of the makespan from memory.
  ///
  /// The samples of the last step of a layer still have to pass all layers behind it. Of the
  /// weights of these no more can be in memory, or on their way, than what the step leaves of it;
  /// the rest begins to come in when the step is over, and so is the work of all layers up to
  /// there. Of a layer that could be cut into tiles only a page and the input need be there.
  private var crowded: Double {
    var (best, work, behind) = (0.0, 0.0, chain.weights.reduce(0, +))
    for layer in 0..<chain.count {
      let weights = chain.weights[layer]
      work += chain.shortest(layer, chain.samples)
      behind -= weights
      let own = chain.page.map { min($0, weights) } ?? weights + chain.added[layer]
      let rest = behind - (chain.memory - own - chain.held[layer] - chain.scratch[layer])
      if rest > Chain.tolerance { best = max(best, work + chain.transfer(rest)) }
    }
    return best
  }

  /// The bound of what is left.
  ///
  /// - Parameters:
  ///   - busy: How long the link is busy already.
  ///   - samples: Samples before each layer.
  ///   - isMissing: Whether the weights of a layer are neither resident nor on their way.
  func remaining(busy: Double, samples: (Int) -> Int, isMissing: (Int) -> Bool) -> Double {
    chain.objective == .makespan
      ? makespan(busy: busy, samples: samples, isMissing: isMissing)
      : sum(busy: busy, samples: samples, isMissing: isMissing)
  }

  private func makespan(
    busy: Double, samples: (Int) -> Int, isMissing: (Int) -> Bool
  ) -> Double {
    var (through, work, loads, tail) = (0, 0.0, 0.0, 0.0)
    var wait = Double.infinity
    for layer in 0..<chain.count {
      let here = samples(layer)
      through += here
      guard through > 0 else { continue }
      work += chain.shortest(layer, through)
      let load = isMissing(layer) ? chain.transfer(chain.weights[layer]) : 0
      if here > 0 { wait = min(wait, load > 0 ? busy + load : 0) }
      guard load > 0 else { continue }
      loads += load
      tail = tails[layer]
    }
    guard through > 0 else { return 0 }
    if !chain.prefetch { return work + loads }
    return max(work + wait, loads > 0 ? busy + loads + tail : 0)
  }

  /// The j-th sample to be through is at best the j-th nearest to the end: before it, j samples'
  /// work is done, and all layers that it passes have come in.
  private func sum(
    busy: Double, samples: (Int) -> Int, isMissing: (Int) -> Bool
  ) -> Double {
    var (total, work, each, loads, tail) = (0.0, 0.0, 0.0, 0.0, 0.0)
    for layer in (0..<chain.count).reversed() {
      each += rates[layer]
      if isMissing(layer) {
        loads += chain.transfer(chain.weights[layer])
        if tail == 0 { tail = tails[layer] }
      }
      for _ in 0..<samples(layer) {
        work += each
        let compute = max(work, tails[layer])
        total +=
          chain.prefetch
          ? max(compute, loads > 0 ? busy + loads + tail : 0) : compute + loads
      }
    }
    return total
  }
}
