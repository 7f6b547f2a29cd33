import Scheduling

/// The best objective without prefetch, by the plainest search there is.
///
/// Value iteration over samples at each border and resident layers, with no bound and no dominance.
/// It checks the `Oracle`.
struct PlainOracle {
  private struct State: Hashable {
    var counts: [Int]
    var resident: Set<Int>
  }

  private let instance: Instance
  private var known: [State: Double] = [:]

  /// The best objective of an instance whose layers have one kernel each.
  static func best(_ instance: Instance) -> Double {
    var oracle = PlainOracle(instance)
    let counts = [instance.samples] + Array(repeating: 0, count: instance.layers.count - 1)
    return oracle.best(State(counts: counts, resident: []))
  }

  private init(_ instance: Instance) { self.instance = instance }

  private mutating func best(_ state: State) -> Double {
    let left = state.counts.reduce(0, +)
    if left == 0 { return 0 }
    if let value = known[state] { return value }
    let pace = instance.objective == .makespan ? 1 : Double(left)
    var best = Double.infinity
    for layer in state.counts.indices {
      for batch in stride(from: 1, through: state.counts[layer], by: 1) {
        for resident in residents(state, layer, batch) {
          var next = State(counts: state.counts, resident: resident)
          next.counts[layer] -= batch
          if layer + 1 < next.counts.count { next.counts[layer + 1] += batch }
          let weights = instance.layers[layer].kernels[0].weights
          let isThere = state.resident.contains(layer) || weights == 0
          let load = isThere ? 0 : instance.linkLatency + weights / instance.linkRate
          let time = instance.layers[layer].kernels[0].time.milliseconds(samples: batch)
          best = min(best, pace * (load + time) + self.best(next))
        }
      }
    }
    known[state] = best
    return best
  }

  /// All sets of layers that can be resident in a step and that hold its own.
  private func residents(_ state: State, _ layer: Int, _ batch: Int) -> [Set<Int>] {
    var room = instance.memory + 1e-9
    for border in state.counts.indices.dropFirst() {
      room -= Double(state.counts[border]) * instance.layers[border - 1].activations
    }
    if layer < instance.layers.count - 1 {
      room -= Double(batch) * instance.layers[layer].activations
    }
    var sets: [Set<Int>] = [[layer]]
    for other in state.resident.sorted() where other != layer {
      sets += sets.map { $0.union([other]) }
    }
    return sets.filter { set in
      set.reduce(0) { $0 + instance.layers[$1].kernels[0].weights } <= room
    }
  }
}
