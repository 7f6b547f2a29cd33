import Vocabulary

/// Plans one network: which samples go together through which layers, with which kernels, and which
/// weights are in memory when.
///
/// 1. Dynamic programming proposes loop nests for several prices of the link (`NestProgramme`).
/// 2. Each is laid out in time with Belady's rule and prefetch (`Timeline`); the best one wins.
/// 3. Unless it has to be `.quick`, local search improves it (`NestImprovement`).
/// 4. With `.thorough`, an instance that is small enough is searched exhaustively instead
/// (`Oracle`).
///
/// The same instance always gives the same plan.
public enum Planner {
  /// How long to look for a better plan.
  public enum Effort: String, Sendable, CaseIterable {
    /// The best of a few loop nests: what a server can afford while a request waits.
    case quick
    /// The best loop nest that local search finds: up to a few seconds.
    case nest
    /// The same, and for tiny instances the best of all plans, loop nests or not.
    case thorough
  }

  /// States that the exhaustive search may reach before it gives up.
  static let searchStates = 1_000_000

  /// The best plan that is found.
  ///
  /// - Throws: `PlanningError` when the instance contradicts itself or a layer cannot fit.
  public static func plan(
    _ instance: Instance, effort: Effort = .thorough
  ) throws -> NetworkPlan {
    try check(instance)
    if effort == .thorough, let proven = try search(instance) { return proven }
    let found = try Kernels(instance, effort: effort).best()
    return found.plan(instance, isProvenOptimal: false)
  }

  /// The best plan of all, where the exhaustive search is small enough to end.
  private static func search(_ instance: Instance) throws -> NetworkPlan? {
    let choices = KernelChoices(instance)
    guard Oracle.covers(instance), choices.total <= 64 else { return nil }
    // Whatever is not better than a quick plan need not be looked at.
    let quick = try Kernels(instance, effort: .quick).best()
    let tiles = Array(repeating: 1, count: instance.layers.count)
    var best = quick.value
    var found: (chain: Chain, script: Script)?
    for kernels in choices {
      let chain = Chain(instance, kernels: kernels, tiles: tiles)
      guard chain.misfit == nil else { continue }
      switch OracleSearch.run(chain, below: best, states: searchStates) {
      case .found(let script, let value): (found, best) = ((chain, script), value)
      case .nothingBetter: continue
      case .limitReached: return nil
      }
    }
    guard let found else { return quick.plan(instance, isProvenOptimal: true) }
    return NetworkPlan(found.chain, instance, found.script, nest: nil, isProvenOptimal: true)
  }

  // MARK: Checks

  /// Refuses an instance that contradicts itself, with the field's name.
  static func check(_ instance: Instance) throws {
    func require(_ condition: Bool, _ sentence: @autoclosure () -> String) throws {
      guard condition else { throw PlanningError.invalid(sentence()) }
    }
    func isSize(_ value: Double) -> Bool { value.isFinite && value >= 0 && value <= 1e12 }
    try require(!instance.layers.isEmpty, "layers is empty: a network has at least one layer.")
    try require(
      instance.layers.count <= Limits.planLayers,
      "layers has \(instance.layers.count) entries; at most \(Limits.planLayers) can be planned.")
    try require(
      (1...Limits.planSamples).contains(instance.samples),
      "samples is \(instance.samples); it must be between 1 and \(Limits.planSamples).")
    try require(
      isSize(instance.memory) && instance.memory > 0, "memory_mb must be a positive number.")
    try require(
      isSize(instance.linkRate) && instance.linkRate > 0,
      "link_mb_per_ms must be a positive number.")
    try require(isSize(instance.linkLatency), "link_latency_ms must not be negative.")
    try require(isSize(instance.input), "input_mb must not be negative.")
    try require(
      instance.page.map { isSize($0) && $0 > 0 } ?? true, "page_mb must be a positive number.")
    for (index, layer) in instance.layers.enumerated() {
      try require(!layer.kernels.isEmpty, "Layer \(index) has no kernel.")
      try require(
        isSize(layer.activations), "activation_mb of layer \(index) must not be negative.")
      for kernel in layer.kernels {
        try require(
          isSize(kernel.weights) && isSize(kernel.scratch),
          "weights_mb and scratch_mb of layer \(index) must not be negative.")
        try require(
          (1...instance.samples).allSatisfy { isSize(kernel.time.milliseconds(samples: $0)) },
          "cost_ms of layer \(index) must not be negative for any number of samples.")
      }
    }
  }

  /// The sentence for an instance that cannot run: the layer that needs most, with its least
  /// kernel.
  static func misfit(of instance: Instance) -> PlanningError {
    var worst = (layer: 0, needed: 0.0)
    for (index, layer) in instance.layers.enumerated() {
      let before = index == 0 ? 0 : instance.layers[index - 1].activations
      let after = index == instance.layers.count - 1 ? 0 : layer.activations
      let needed = layer.kernels.map { kernel in
        (instance.page == nil ? kernel.weights : 0) + kernel.scratch + before + after
      }
      if let least = needed.min(), least > worst.needed { worst = (index, least) }
    }
    return .tooLittleMemory(
      layer: worst.layer, name: instance.layers[worst.layer].name, needed: worst.needed,
      memory: instance.memory, canTile: instance.page != nil)
  }
}

/// A loop nest laid out in time.
struct PlannedNest {
  let chain: Chain
  var nest: LoopNest
  var window: Int
  var timeline: Timeline

  var value: Double { timeline.value(chain.objective) }

  init?(_ chain: Chain, _ nest: LoopNest, window: Int = .max) {
    guard let timeline = Timeline(chain, nest.visits, window: window) else { return nil }
    (self.chain, self.nest, self.window, self.timeline) = (chain, nest, window, timeline)
  }

  func plan(_ instance: Instance, isProvenOptimal: Bool) -> NetworkPlan {
    NetworkPlan(
      chain, instance, timeline.script(chain), nest: nest, isProvenOptimal: isProvenOptimal)
  }
}
