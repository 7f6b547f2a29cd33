import Scheduling
import Simulation
import Testing
import Vocabulary

/// A network of some layers (megabytes of weights and activations, milliseconds of a call and of a
/// sample), all of whose requests come at once; a megabyte takes a millisecond on the link.
private func workload(
  _ layers: [(weights: Double, activations: Double, fixed: Double, perSample: Double)],
  memory: Double, requests: Int
) -> Workload {
  let device = DeviceProfile(
    name: "example", source: "worked examples", units: 1, pageKilobytes: 1,
    link: .init(gigabytesPerSecond: 1, latencyMicroseconds: 0))
  let profile = ModelProfile(
    layers: layers.map { layer in
      LayerProfile(
        weights: ByteCount(Int(layer.weights * 1e6)),
        activations: ByteCount(Int(layer.activations * 1e6)), scratch: .zero,
        cost: LayerCost(
          fixed: .nanoseconds(Int64(layer.fixed * 1e6)),
          perSample: .nanoseconds(Int64(layer.perSample * 1e6))))
    }, maximumBatch: 16, maximumQueueDelay: .zero, queueLimit: 100)
  return Workload(
    device: device, budget: ByteCount(Int(memory * 1e6)),
    models: [
      Workload.Model(
        name: "tiny", profile: profile, arrivals: Arrivals(.burst, count: requests))
    ], seconds: 1, seed: 1)
}

@Suite("The oracle as a policy")
struct OraclePolicyTests {
  private let entry = PolicyCatalog.entry(named: "oracle")

  @Test("T2: ten requests of a network with T = 1 + k go as 4, 3, 2, 1, and wait 8.5 in the mean")
  func groups() throws {
    var simulator = try Simulator(
      workload([(0, 0, 1, 1)], memory: 1, requests: 10), under: try #require(entry))
    let report = simulator.run()
    #expect(report.violations.isEmpty)
    #expect(abs(report.mean - 8.5) < 1e-6)
  }

  @Test("On random networks nobody is quicker, nothing is violated and all are answered")
  func random() throws {
    for seed in 0..<60 {
      var random = RandomSource(seed: UInt64(seed))
      let count = 1 + random.below(3)
      var layers = (0..<count).map { _ in
        (
          weights: Double(1 + random.below(200)) / 10, activations: Double(random.below(30)) / 10,
          fixed: Double(random.below(20)) / 10, perSample: Double(1 + random.below(20)) / 10
        )
      }
      layers[count - 1].activations = 0
      let weights = layers.map(\.weights)
      let least = (weights.max() ?? 0) + 2 * (layers.map(\.activations).max() ?? 0)
      // Either all fits or no two layers: with all in memory, parts of layers gain nothing.
      let memory = random.chance(0.5) ? weights.reduce(least, +) + 20 : least + 0.01
      let workload = workload(layers, memory: memory, requests: 1 + random.below(4))
      var simulator = try Simulator(workload, under: try #require(entry))
      let best = simulator.run()
      #expect(best.violations.isEmpty, "seed \(seed): \(best.violations)")
      #expect(best.answered == best.arrived && best.answered > 0)
      if memory > least + 1 {
        for entry in PolicyCatalog.standard {
          var simulator = try Simulator(workload, under: entry)
          let other = simulator.run()
          #expect(other.mean >= best.mean - 1e-3, "\(entry.name), seed \(seed)")
        }
      }
    }
  }

  @Test("What cannot be searched is refused with a sentence")
  func refusals() throws {
    let tiny = workload([(1, 0, 1, 1)], memory: 2, requests: 2)
    var noisy = tiny
    noisy.noise = 0.1
    var several = tiny
    several.models += tiny.models
    var spread = tiny
    spread.models[0].arrivals = Arrivals(.poisson, rate: 5)
    var fed = tiny
    fed.models[0].profile.input = ByteCount(1)
    let deep = workload(Array(repeating: (1, 0, 1, 1), count: 13), memory: 20, requests: 1)
    for (workload, words) in [
      (noisy, "noise"), (several, "one model"), (spread, "one moment"), (fed, "input_mb"),
      (deep, "at most 12 layers"),
    ] {
      #expect {
        _ = try Simulator(workload, under: try #require(entry))
      } throws: { error in
        String(describing: error).contains(words)
      }
    }
  }
}
