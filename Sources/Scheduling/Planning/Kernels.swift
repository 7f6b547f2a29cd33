/// Chooses a kernel for each layer, and cuts layers that do not fit into tiles.
struct Kernels {
  private let instance: Instance
  private let effort: Planner.Effort

  init(_ instance: Instance, effort: Planner.Effort) {
    self.instance = instance
    self.effort = effort
  }

  /// The best plan over all choices of kernels, or over single changes where there are too many.
  func best() throws -> PlannedNest {
    let choices = KernelChoices(instance)
    let best = choices.total <= 16 ? all(choices) : stepwise()
    guard let best else { throw Planner.misfit(of: instance) }
    return best
  }

  private func all(_ choices: KernelChoices) -> PlannedNest? {
    var best: PlannedNest?
    for kernels in choices {
      guard let candidate = candidate(kernels, effort) else { continue }
      if best.map({ candidate.value < $0.value }) ?? true { best = candidate }
    }
    return best
  }

  private func stepwise() -> PlannedNest? {
    // Start small, so that there is a plan if any choice has one.
    var kernels = instance.layers.map { layer in
      layer.kernels.indices.min {
        layer.kernels[$0].weights + layer.kernels[$0].scratch
          < layer.kernels[$1].weights + layer.kernels[$1].scratch
      } ?? 0
    }
    guard var best = candidate(kernels, .quick) else { return nil }
    for _ in 0..<2 {
      for (index, layer) in instance.layers.enumerated() {
        for kernel in layer.kernels.indices where kernel != kernels[index] {
          var changed = kernels
          changed[index] = kernel
          guard let candidate = candidate(changed, .quick), candidate.value < best.value
          else { continue }
          (best, kernels) = (candidate, changed)
        }
      }
    }
    guard effort != .quick, let thorough = candidate(kernels, effort) else { return best }
    return thorough.value < best.value ? thorough : best
  }

  /// The best plan with some kernels, or nil when a layer does not fit.
  private func candidate(_ kernels: [Int], _ effort: Planner.Effort) -> PlannedNest? {
    guard let tiles = tiles(kernels) else { return nil }
    var best: PlannedNest?
    // Twice as many tiles let one come in while another runs.
    for factor in tiles.contains(where: { $0 > 1 }) ? [1, 2, 4] : [1] {
      let chain = Chain(instance, kernels: kernels, tiles: tiles.map { $0 > 1 ? $0 * factor : 1 })
      guard let candidate = NestPlanner(chain: chain, effort: effort).best() else { continue }
      if best.map({ candidate.value < $0.value }) ?? true { best = candidate }
    }
    return best
  }

  /// The fewest tiles with which each layer fits with one sample; nil when no number helps.
  private func tiles(_ kernels: [Int]) -> [Int]? {
    var tiles: [Int] = []
    for (index, layer) in instance.layers.enumerated() {
      let kernel = layer.kernels[kernels[index]]
      let before = index == 0 ? 0 : instance.layers[index - 1].activations
      let after = index == instance.layers.count - 1 ? 0 : layer.activations
      let room = instance.memory - kernel.scratch - before - after + Chain.tolerance
      if kernel.weights <= room {
        tiles.append(1)
        continue
      }
      guard let page = instance.page, room >= page else { return nil }
      let pages = (room / page).rounded(.down)
      let count = (kernel.weights / (pages * page)).rounded(.up)
      // Tiles smaller than a page have no meaning.
      guard count <= (kernel.weights / page).rounded(.up) else { return nil }
      tiles.append(Int(count))
    }
    return tiles
  }
}
