import Scheduling
import Testing

/// A layer whose steps take so many milliseconds for each sample.
private func layer(
  _ weights: Double, activations: Double = 0, fixed: Double = 0, perSample: Double = 1
) -> Instance.Layer {
  Instance.Layer(
    weights: weights, activations: activations,
    time: .linear(fixed: fixed, perSample: perSample))
}

private func plan(_ instance: Instance) throws -> NetworkPlan {
  let plan = try Planner.plan(instance)
  #expect(Replay.problems(of: plan, instance) == [])
  return plan
}

private func isNear(_ value: Double, _ expected: Double) -> Bool { abs(value - expected) < 1e-6 }

@Suite("Plans of one network")
struct PlannerTests {
  /// A group costs `fixed` and a millisecond for each sample.
  struct GroupCase {
    var fixed: Double
    var samples: Int
    var sum: Double
  }

  private static let groupCases = [
    GroupCase(fixed: 1, samples: 10, sum: 85), GroupCase(fixed: 1, samples: 15, sum: 175),
    GroupCase(fixed: 1, samples: 6, sum: 35), GroupCase(fixed: 3, samples: 10, sum: 118),
    GroupCase(fixed: 4, samples: 16, sum: 283), GroupCase(fixed: 100, samples: 10, sum: 1100),
  ]

  @Test(
    "T2, T3, T4: groups get smaller towards the end; there is one when each costs much",
    arguments: groupCases)
  func groups(story: GroupCase) throws {
    let plan = try plan(
      Instance(
        layers: [layer(0, fixed: story.fixed)], samples: story.samples, memory: 1, linkRate: 1,
        objective: .sum))
    #expect(isNear(plan.sumOfCompletions, story.sum))
    // Where several sizes are best, any of them will do; they never grow.
    let sizes = plan.steps.map(\.samples)
    #expect(sizes.reduce(0, +) == story.samples)
    #expect(sizes == sizes.sorted(by: >))
  }

  @Test("T3: nothing is gained by a batch whose time grows with it, so nobody waits for others")
  func neverBatch() throws {
    let plan = try plan(
      Instance(layers: [layer(0)], samples: 10, memory: 1, linkRate: 1, objective: .sum))
    #expect(isNear(plan.sumOfCompletions, 55))
    #expect(plan.layerBatches == [1])
  }

  @Test("T7: when everything fits, weights come in once and nothing else is lost")
  func everythingFits() throws {
    let layers = [layer(10, activations: 1), layer(10, activations: 1), layer(10)]
    let plan = try plan(
      Instance(layers: layers, samples: 4, memory: 40, linkRate: 10, prefetch: false))
    #expect(isNear(plan.makespan, 15))
    #expect(plan.pinned == [10, 10, 10])
  }

  @Test("T8: with room for one layer, all samples pass it before the next: weights enter once")
  func weightStationary() throws {
    let layers = [layer(10, activations: 0.1), layer(10, activations: 0.1), layer(10)]
    let plan = try plan(
      Instance(layers: layers, samples: 4, memory: 12, linkRate: 10, prefetch: false))
    #expect(isNear(plan.makespan, 15))
    #expect(isNear(plan.transferred, 30))
  }

  @Test("T9: with large activations samples go all the way down one by one")
  func depthFirst() throws {
    let layers = [layer(1, activations: 10), layer(1, activations: 10), layer(1)]
    let plan = try plan(
      Instance(layers: layers, samples: 4, memory: 24, linkRate: 10, prefetch: false))
    #expect(isNear(plan.makespan, 12.3))
    #expect(plan.layerBatches == [1, 1, 1])
  }

  @Test("T10: early layers take small batches and late ones large: each layer has its own")
  func layerBatches() throws {
    let layers = [(1.0, 10.0), (1, 0.1), (20, 0.1), (20, 0)].map { weights, activations in
      layer(weights, activations: activations, fixed: 1, perSample: 0.5)
    }
    let instance = Instance(
      layers: layers, samples: 4, memory: 22.5, linkRate: 10, prefetch: false)
    #expect(isNear(try plan(instance).makespan, 18.2))
    // A loop nest is enough for it.
    let nest = try Planner.plan(instance, effort: .nest)
    #expect(isNear(nest.makespan, 18.2))
    #expect(nest.layerBatches[0] == 2 && nest.layerBatches[2] == 4)
  }

  @Test(
    "T11: page-ins hide behind computing, except the first, and where there is no room",
    arguments: [[4.0, 1, 12, 13], [1, 4, 3, 13], [1, 4, 1, 15]])
  func prefetch(story: [Double]) throws {
    let layers = (0..<3).map { _ in layer(story[0], perSample: story[1]) }
    let plan = try plan(Instance(layers: layers, samples: 1, memory: story[2], linkRate: 1))
    #expect(isNear(plan.makespan, story[3]))
  }

  @Test("T17: one sample with everything resident costs its computing and nothing more")
  func addsNothing() throws {
    let layers = (1...5).map { layer(0, activations: 1, fixed: Double($0)) }
    let plan = try plan(Instance(layers: layers, samples: 1, memory: 10, linkRate: 1))
    #expect(isNear(plan.makespan, 20))
    #expect(plan.isProvenOptimal && isNear(plan.lowerBound, 20))
  }

  @Test("T18: a layer that does not fit is refused with the bytes it needs")
  func refuses() {
    let instance = Instance(
      layers: [layer(1, activations: 2), layer(10, activations: 3), layer(1)], samples: 2,
      memory: 12, linkRate: 1)
    #expect(
      throws: PlanningError.tooLittleMemory(
        layer: 1, name: "", needed: 15, memory: 12, canTile: false)
    ) { try Planner.plan(instance) }
  }

  @Test("T18: with pages, a layer that does not fit is cut into tiles")
  func tiles() throws {
    var instance = Instance(
      layers: [layer(1, activations: 2), layer(40, activations: 3), layer(1)], samples: 2,
      memory: 16, linkRate: 1)
    instance.page = 1
    let plan = try plan(instance)
    let tiles = plan.steps.compactMap(\.tile)
    #expect(tiles.count >= 4)
    #expect(tiles.allSatisfy { $0.count == tiles[0].count })
    #expect(plan.transferred >= 42)
  }

  @Test("T18: memory that no tile fits into is refused")
  func refusesTiles() {
    var instance = Instance(
      layers: [layer(1, activations: 8), layer(40, activations: 8), layer(1)], samples: 2,
      memory: 16, linkRate: 1)
    instance.page = 1
    #expect(throws: PlanningError.self) { try Planner.plan(instance) }
  }

  @Test("A fast kernel with large weights is taken where memory allows it")
  func kernels() throws {
    var convolution = layer(4, activations: 1, perSample: 3)
    convolution.kernels.append(
      .init(weights: 8, scratch: 5, time: .linear(fixed: 0, perSample: 1)))
    var instance = Instance(
      layers: [convolution, layer(4)], samples: 4, memory: 30, linkRate: 10)
    #expect(try plan(instance).kernels == [1, 0])
    instance.memory = 13
    #expect(try plan(instance).kernels == [0, 0])
  }

  @Test("The same instance gives the same plan")
  func deterministic() throws {
    for seed in UInt64(0)..<6 {
      let instance = Instance.random(
        seed: seed, layers: 3...6, samples: 2...6, objective: .sum, prefetch: true)
      #expect(try Planner.plan(instance) == Planner.plan(instance), "seed \(seed)")
    }
  }

  @Test(
    "Contradictory instances are refused with the field's name",
    arguments: ["memory_mb", "samples", "link_mb_per_ms", "layers", "activation_mb", "page_mb"])
  func invalid(field: String) {
    var instance = Instance(layers: [layer(1)], samples: 1, memory: 2, linkRate: 1)
    switch field {
    case "memory_mb": instance.memory = .nan
    case "samples": instance.samples = 0
    case "link_mb_per_ms": instance.linkRate = 0
    case "layers": instance.layers = []
    case "activation_mb": instance.layers[0].activations = -1
    default: instance.page = 0
    }
    #expect {
      try Planner.plan(instance)
    } throws: { error in
      "\(error)".contains(field)
    }
  }
}
