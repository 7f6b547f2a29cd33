/// How the samples of one network go through memory: decisions, and the steps they lead to.
///
/// Sizes are megabytes (10⁶ bytes), times milliseconds since the start.
public struct NetworkPlan: Sendable, Equatable {
  /// Consecutive layers that each chunk of samples goes through before the next chunk starts.
  public struct Segment: Sendable, Equatable {
    /// The layers.
    public var layers: Range<Int>
    /// Samples that go through all of them before the next ones start.
    public var chunk: Int
  }

  /// Samples that travel together, with the segments they go through.
  public struct Group: Sendable, Equatable {
    /// How many travel together.
    public var samples: Int
    /// Segments in running order; empty when the steps follow no loop nest.
    public var segments: [Segment]
  }

  /// Part of a layer's output channels, for a layer whose weights exceed the memory.
  public struct Tile: Sendable, Equatable {
    /// Which part, from 0.
    public var index: Int
    /// How many parts there are.
    public var count: Int
  }

  /// Weights that are dropped before a step.
  public struct Drop: Sendable, Equatable {
    /// The layer.
    public var layer: Int
    /// How much of it.
    public var megabytes: Double
  }

  /// A transfer that begins during a step or right before it.
  public struct Transfer: Sendable, Equatable {
    /// The layer.
    public var layer: Int
    /// How much of it.
    public var megabytes: Double
    /// When the link begins.
    public var start: Double
    /// When the weights are there.
    public var end: Double
  }

  /// One run of a layer.
  public struct Step: Sendable, Equatable {
    /// The layer.
    public var layer: Int
    /// The part of the layer, for layers that are cut into tiles.
    public var tile: Tile?
    /// Samples of the step.
    public var samples: Int
    /// When it begins.
    public var start: Double
    /// When it is over.
    public var end: Double
    /// What is dropped before it, and before its transfers begin.
    public var drops: [Drop]
    /// Transfers that begin right before it or while it runs.
    public var transfers: [Transfer]
    /// Megabytes of weights while it runs, those on their way included.
    public var weights: Double
    /// Megabytes of activations and scratch while it runs.
    public var activations: Double
  }

  /// Groups in running order.
  public var groups: [Group]
  /// The most samples of one step, by layer.
  public var layerBatches: [Int]
  /// The kernel that computes each layer, as an index of the layer's kernels.
  public var kernels: [Int]
  /// Megabytes of each layer that stay from its first use to its last.
  public var pinned: [Double]
  /// All steps in running order.
  public var steps: [Step]
  /// When the last sample is through.
  public var makespan: Double
  /// Sum over all samples of the moments when they are through.
  public var sumOfCompletions: Double
  /// No plan has a smaller objective than this.
  public var lowerBound: Double
  /// Whether an exhaustive search has shown that no plan is better.
  public var isProvenOptimal: Bool

  /// The value of an objective.
  public func value(_ objective: Instance.Objective) -> Double {
    objective == .makespan ? makespan : sumOfCompletions
  }

  /// Megabytes that the link carries.
  public var transferred: Double {
    steps.reduce(0) { $0 + $1.transfers.reduce(0) { $0 + $1.megabytes } }
  }

  /// Milliseconds in which no step runs because its weights are on their way.
  public var stalled: Double { makespan - steps.reduce(0) { $0 + $1.end - $1.start } }
}

extension NetworkPlan {
  /// The plan of a script; `nest` is what it follows, if it follows one.
  init(
    _ chain: Chain, _ instance: Instance, _ script: Script, nest: LoopNest?,
    isProvenOptimal: Bool
  ) {
    steps = script.timed(chain)
    kernels = chain.kernels
    makespan = steps.last?.end ?? 0
    let last = instance.layers.count - 1
    sumOfCompletions = steps.reduce(0) { sum, step in
      let isThrough = step.layer == last && (step.tile.map { $0.index == $0.count - 1 } ?? true)
      return isThrough ? sum + Double(step.samples) * step.end : sum
    }
    layerBatches = Array(repeating: 0, count: instance.layers.count)
    for step in steps {
      layerBatches[step.layer] = max(layerBatches[step.layer], step.samples)
    }
    groups =
      nest.map { $0.groups.map { Group($0, chain) } }
      ?? [Group(samples: instance.samples, segments: [])]
    pinned = Self.pinned(script, chain, layers: instance.layers.count)
    self.isProvenOptimal = isProvenOptimal
    lowerBound = LowerBound(Chain(cheapest: instance)).whole
  }

  /// What of each layer stays from its first step to its last.
  private static func pinned(_ script: Script, _ chain: Chain, layers: Int) -> [Double] {
    var last = Array(repeating: -1, count: chain.count)
    for (index, step) in script.steps.enumerated() { last[step.visit.layer] = index }
    var stays = chain.weights
    var used = Array(repeating: false, count: chain.count)
    var resident = Array(repeating: 0.0, count: chain.count)
    for (index, step) in script.steps.enumerated() {
      for drop in step.drops {
        resident[drop.layer] -= drop.megabytes
        guard used[drop.layer], index <= last[drop.layer] else { continue }
        stays[drop.layer] = min(stays[drop.layer], max(resident[drop.layer], 0))
      }
      for load in step.loads { resident[load.layer] += load.megabytes }
      used[step.visit.layer] = true
    }
    var result = Array(repeating: 0.0, count: layers)
    for layer in 0..<chain.count { result[chain.origins[layer].layer] += stays[layer] }
    return result
  }
}

extension NetworkPlan.Group {
  fileprivate init(_ group: LoopNest.Group, _ chain: Chain) {
    samples = group.samples
    segments = group.segments.map { segment in
      let first = chain.origins[segment.layers.lowerBound].layer
      let last = chain.origins[segment.layers.upperBound - 1].layer
      return NetworkPlan.Segment(layers: first..<last + 1, chunk: segment.chunk)
    }
  }
}
