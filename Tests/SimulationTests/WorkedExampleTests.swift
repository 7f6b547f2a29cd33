import Scheduling
import Simulation
import Testing
import Vocabulary

/// A device on which a megabyte takes a millisecond and handling faults takes nothing.
private func device(units: Int = 1, slowdown: Double? = nil) -> DeviceProfile {
  DeviceProfile(
    name: "example", source: "worked examples", units: units, pageKilobytes: 1,
    link: .init(gigabytesPerSecond: 1, latencyMicroseconds: 0, slowdown: slowdown))
}

/// A call of a layer: milliseconds, fixed and per sample.
private func line(_ fixed: Double, _ perSample: Double) -> LayerCost {
  LayerCost(
    batches: [1, 2], units: [1],
    seconds: [(fixed + perSample) / 1e3, (fixed + 2 * perSample) / 1e3])
}

private func layer(_ megabytes: Double, _ cost: LayerCost) -> LayerProfile {
  LayerProfile(
    weights: ByteCount(Int(megabytes * 1e6)), activations: .zero, scratch: .zero, cost: cost)
}

/// A model whose requests come at some milliseconds.
private func model(
  _ name: String, _ layers: [LayerProfile], at moments: [Double], batch: Int = 64
) -> Workload.Model {
  var arrivals = Arrivals(.trace)
  arrivals.times = moments.map { $0 / 1e3 }
  return Workload.Model(
    name: name,
    profile: ModelProfile(
      layers: layers, maximumBatch: batch, maximumQueueDelay: .zero, queueLimit: 1 << 20),
    arrivals: arrivals)
}

private func play(
  _ policy: String, memory: Double, units: Int = 1, slowdown: Double? = nil,
  _ models: [Workload.Model]
) throws -> Report {
  let workload = Workload(
    device: device(units: units, slowdown: slowdown), budget: ByteCount(Int(memory * 1e6)),
    models: models,
    seconds: 1e4, seed: 1)
  let entry = try #require(PolicyCatalog.entry(named: policy))
  var simulator = try Simulator(workload, under: entry)
  let report = simulator.run()
  #expect(report.violations.isEmpty, "\(policy): \(report.violations)")
  return report
}

private func isNear(_ value: Double, _ expected: Double, within share: Double = 1e-3) -> Bool {
  abs(value - expected) <= share * expected
}

@Suite("Worked examples under the clock")
struct WorkedExampleTests {
  @Test("A layer beside a page-in takes longer by the device's slowdown: 4 + 6 + 5")
  func slowdown() throws {
    let cat = model("cat", [layer(4, line(0, 5)), layer(4, line(0, 5))], at: [0])
    #expect(isNear(try play("stowage", memory: 20, [cat]).makespan, 14))
    #expect(isNear(try play("stowage", memory: 20, slowdown: 0.2, [cat]).makespan, 15))
  }

  @Test(
    "T1: least recent use misses every block of a cyclic sweep as soon as one does not fit",
    arguments: [(10, 9), (10, 5), (20, 10)])
  func leastRecentUse(blocks: Int, frames: Int) throws {
    let layers = Array(repeating: layer(1, line(0, 1)), count: blocks)
    let sweeps = Array(repeating: 0.0, count: 20)
    let report = try play(
      "no-batching", memory: Double(frames), [model("a", layers, at: sweeps)])
    #expect(isNear(report.movedMegabytes, Double(20 * blocks)))
  }

  @Test("T5: the one request of a quick model goes before four of a slow one")
  func smithOrder() throws {
    // While something else runs, all five come; they are through at 2 and at 16 after it.
    let report = try play(
      "stowage", memory: 1,
      [
        model("blocker", [layer(0, line(0, 5))], at: [0]),
        model("a", [layer(0, line(10, 1))], at: [1, 1, 1, 1]),
        model("b", [layer(0, line(1, 1))], at: [1]),
      ])
    #expect(isNear(report.mean * 6, 5 + 5 * 4 + 66))
  }

  @Test("T12: asked first, the job with the short page-in hides the long one of the other: 6")
  func flowShop() throws {
    // A hundredfold, so that the pieces that page-ins are cut into matter little.
    let report = try play(
      "stowage", memory: 1000,
      [
        model("a", [layer(400, line(0, 100))], at: [1e-3]),
        model("b", [layer(100, line(0, 400))], at: [0]),
      ])
    #expect(isNear(report.makespan, 600, within: 0.05))
  }

  @Test("T12: asked at one moment, the job with the short page-in goes first, whoever came first")
  func simultaneousFlowShop() throws {
    let jobs = [
      model("a", [layer(400, line(0, 100))], at: [0]),
      model("b", [layer(100, line(0, 400))], at: [0]),
    ]
    for models in [jobs, jobs.reversed()] {
      let report = try play("stowage", memory: 1000, models)
      #expect(isNear(report.makespan, 600, within: 0.08))
    }
  }

  /// Two tenants of six megabytes, in ten megabytes.
  private func tenants(layers: Int, _ first: [Double], _ second: [Double]) -> [Workload.Model] {
    let parts = Array(
      repeating: layer(6 / Double(layers), line(0, 1 / Double(layers))), count: layers)
    return [model("a", parts, at: first), model("b", parts, at: second)]
  }

  @Test("T13: in turn, least recent use loads everything anew: 7, 14, 21, 28")
  func alternating() throws {
    let report = try play(
      "no-batching", memory: 10, tenants(layers: 6, [0, 2e-3], [1e-3, 3e-3]))
    #expect(isNear(report.mean, 17.5))
    #expect(isNear(report.makespan, 28))
  }

  @Test("T13: ordered and prefetched, the same four requests come near the bound of 10.5")
  func orderedTenants() throws {
    let report = try play("stowage", memory: 10, tenants(layers: 1, [0, 2e-3], [1e-3, 3e-3]))
    #expect(report.mean <= 11.5)
    #expect(isNear(report.movedMegabytes, 12))
  }

  @Test("T14: order beats eviction: sixteen requests in turn wait 59.5, one tenant first 17.5")
  func orderBeatsEviction() throws {
    let even = (0..<8).map { Double(2 * $0) * 1e-3 }
    let odd = (0..<8).map { Double(2 * $0 + 1) * 1e-3 }
    let turns = try play("no-batching", memory: 10, tenants(layers: 6, even, odd))
    #expect(isNear(turns.mean, 59.5))
    let sorted = (0..<8).map { Double($0) * 1e-3 }
    let groups = try play(
      "no-batching", memory: 10, tenants(layers: 6, sorted, sorted.map { $0 + 0.1 }))
    #expect(isNear(groups.mean, 17.5, within: 0.01))
    let ours = try play("stowage", memory: 10, tenants(layers: 6, even, odd))
    #expect(ours.mean <= 17.5)
  }

  @Test("T15: two jobs that scale run one after the other, two that do not side by side")
  func sideBySide() throws {
    let linear = LayerCost(batches: [1], units: [1, 2], seconds: [0.02, 0.01])
    let flat = LayerCost(batches: [1], units: [1, 2], seconds: [0.01, 0.01])
    for (cost, mean) in [(linear, 15.0), (flat, 10)] {
      let report = try play(
        "stowage-side-by-side", memory: 1, units: 2,
        [
          model("a", [layer(0, cost)], at: [0], batch: 1),
          model("b", [layer(0, cost)], at: [0], batch: 1),
        ])
      #expect(isNear(report.mean, mean))
    }
  }

  /// Poisson arrivals at one server that takes everybody who waits.
  struct Queue {
    var rate: Double
    var perSample: Double
    var fixed: Double
    var mean: Double
    var bound: Double
  }

  private static let queues = [
    Queue(rate: 0.2, perSample: 1, fixed: 2, mean: 4.229, bound: 4.312),
    Queue(rate: 0.5, perSample: 1, fixed: 2, mean: 7.490, bound: 7.667),
    Queue(rate: 0.8, perSample: 1, fixed: 2, mean: 18.76, bound: 18.89),
    Queue(rate: 0.9, perSample: 1, fixed: 5, mean: 81.46, bound: 82.63),
    Queue(rate: 0.1, perSample: 1, fixed: 0.5, mean: 1.636, bound: 1.636),
  ]

  @Test("T16: a serve-all queue waits as long as Inoue's formulas say", arguments: queues)
  func serveAll(queue: Queue) throws {
    var queued = model("a", [layer(0, line(queue.fixed, queue.perSample))], at: [], batch: 4096)
    queued.arrivals = Arrivals(.poisson, rate: queue.rate * 1e3, count: 60_000)
    let report = try play("dynamic-batching", memory: 1, [queued])
    #expect(isNear(report.mean, queue.mean, within: 0.06))
    #expect(report.mean <= queue.bound * 1.06)
  }

  @Test("T17: one request with everything resident costs its layers under every policy")
  func addsNothing() throws {
    // All but the one that waits for a full batch by definition.
    for entry in PolicyCatalog.standard where entry.name != "fixed-batch" {
      let layers = (1...5).map { layer(0, line(0, Double($0))) }
      let report = try play(entry.name, memory: 1, [model("a", layers, at: [0])])
      #expect(isNear(report.mean, 15), "\(entry.name): \(report.mean)")
    }
  }

  @Test("T18: a model with a layer that cannot fit is refused, and the others are served")
  func misfit() throws {
    let report = try play(
      "stowage", memory: 10,
      [
        model("large", [layer(11, line(0, 1))], at: [0, 1, 2]),
        model("small", [layer(2, line(0, 1))], at: [0, 1, 2]),
      ])
    #expect(report.answered == 3 && report.rejected == 3)
  }
}
