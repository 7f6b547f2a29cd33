/// The best plan of a tiny instance, by exhaustive search.
///
/// A* over what is left to do: how many samples stand at each border, which layers are resident,
/// what the link is still busy with. Between two steps at most one transfer is under way, because
/// one that would begin later can as well be listed under the next step. A state with the same
/// samples and layers is dropped when another one is no worse even after waiting for its link.
///
/// Exact for weights that come and go whole; the number of states grows exponentially, so a limit
/// bounds the search.
public enum Oracle {
  /// The most layers of an instance.
  public static let layerLimit = 12
  /// The most samples of an instance.
  public static let sampleLimit = 15

  /// The best plan of an instance, or nil when the search reaches its limit.
  ///
  /// - Parameters:
  ///   - instance: An instance without pages, with at most `layerLimit` layers and `sampleLimit`
  ///     samples.
  ///   - states: The most states to reach for one choice of kernels.
  /// - Throws: `PlanningError` when there is no plan.
  public static func plan(_ instance: Instance, states: Int = 10_000_000) throws -> NetworkPlan? {
    try Planner.check(instance)
    guard covers(instance) else { return nil }
    let tiles = Array(repeating: 1, count: instance.layers.count)
    var best: (chain: Chain, script: Script, value: Double)?
    for kernels in KernelChoices(instance) {
      let chain = Chain(instance, kernels: kernels, tiles: tiles)
      guard chain.misfit == nil else { continue }
      switch OracleSearch.run(chain, below: best?.value ?? .infinity, states: states) {
      case .found(let script, let value): best = (chain, script, value)
      case .nothingBetter: continue
      case .limitReached: return nil
      }
    }
    guard let best else { throw Planner.misfit(of: instance) }
    return NetworkPlan(
      best.chain, instance, best.script, nest: nil, isProvenOptimal: true)
  }

  /// Whether an instance is small enough for the packed states of the search.
  static func covers(_ instance: Instance) -> Bool {
    instance.page == nil && instance.layers.count <= layerLimit
      && instance.samples <= sampleLimit
  }
}

/// All ways to choose one kernel for each layer, the first kernels first.
struct KernelChoices: Sequence, IteratorProtocol {
  private let counts: [Int]
  private var upcoming: [Int]?

  init(_ instance: Instance) {
    counts = instance.layers.map(\.kernels.count)
    upcoming = Array(repeating: 0, count: counts.count)
  }

  /// How many ways there are, held at `Int.max`.
  var total: Int {
    counts.reduce(1) { total, count in
      let (product, overflow) = total.multipliedReportingOverflow(by: count)
      return overflow ? .max : product
    }
  }

  mutating func next() -> [Int]? {
    guard let current = upcoming else { return nil }
    var following = current
    for layer in counts.indices {
      following[layer] += 1
      if following[layer] < counts[layer] {
        upcoming = following
        return current
      }
      following[layer] = 0
    }
    upcoming = nil
    return current
  }
}
