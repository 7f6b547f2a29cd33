import Scheduling
import Simulation
import Testing
import Vocabulary

/// Three models of twelve layers, of which a third fits into memory.
private func workload(seed: UInt64, budgetShares: [Double] = []) -> Workload {
  let models = (0..<3).map { number in
    let layers = (0..<12).map { layer in
      LayerProfile(
        weights: ByteCount((1 + (layer * 7 + number) % 5) << 20), activations: ByteCount(10_000),
        scratch: ByteCount(5_000),
        cost: LayerCost(
          batches: [1, 2], units: [1, 2], seconds: [0.002, 0.003, 0.0011, 0.0017]))
    }
    var arrivals = Arrivals(.poisson, rate: 10)
    arrivals.samples = [1, 2, 4]
    return Workload.Model(
      name: "model \(number)",
      profile: ModelProfile(
        layers: layers, input: ByteCount(10_000), maximumBatch: 8, maximumQueueDelay: .zero,
        queueLimit: 1_000),
      arrivals: arrivals)
  }
  let device = DeviceProfile(
    name: "small", source: "made up", units: 2, pageKilobytes: 64,
    link: .init(gigabytesPerSecond: 4, latencyMicroseconds: 30))
  var faults = Workload.Faults()
  faults.budgetShares = budgetShares
  return Workload(
    device: device, budget: .mebibytes(36), models: models, seconds: 3, seed: seed, noise: 0.05,
    faults: faults)
}

/// A policy as a server drives it: now a layer without its weights is a violation.
private func onServer(
  _ entry: PolicyCatalog.Entry, _ workload: Workload
) throws -> PolicyCatalog.Entry {
  let policy = try entry.served(units: 2, budget: workload.budget)
  var served = entry
  (served.isPlanned, served.boundsWaiting) = (true, false)
  served.make = { _ in policy }
  return served
}

/// What an engine cannot do, of what a simulation found.
private func impossible(_ report: Report) -> [String] {
  // Policies that do not plan may take more memory than there is: that is no reason to fail.
  report.violations.filter { !$0.contains("bytes are in use of") }
}

/// All that need not know every request ahead.
private let names = PolicyCatalog.all.map(\.name).filter { $0 != "oracle" }

@Suite("Policies on a server")
struct ServedPolicyTests {
  @Test(
    "No layer runs without its weights, and every request is answered",
    arguments: names)
  func plans(name: String) throws {
    let entry = try #require(PolicyCatalog.entry(named: name))
    for seed: UInt64 in 1...4 {
      let workload = workload(seed: seed)
      var simulator = try Simulator(workload, under: onServer(entry, workload))
      let report = simulator.run()
      #expect(impossible(report) == [])
      #expect(report.answered == report.arrived)
    }
  }

  @Test("Memory may change while requests are under way", arguments: names)
  func budgets(name: String) throws {
    let entry = try #require(PolicyCatalog.entry(named: name))
    let workload = workload(seed: 5, budgetShares: [1, 0.7, 1.2])
    var simulator = try Simulator(workload, under: onServer(entry, workload))
    let report = simulator.run()
    #expect(impossible(report) == [])
    #expect(report.answered == report.arrived)
  }

  @Test("Page faults that are served take the time that the simulator says")
  func times() throws {
    for name in ["no-batching", "dynamic-batching", "barm", "thesis"] {
      let entry = try #require(PolicyCatalog.entry(named: name))
      let workload = workload(seed: 6)
      var simulator = try Simulator(workload, under: entry)
      let faulting = simulator.run()
      var serving = try Simulator(workload, under: onServer(entry, workload))
      let served = serving.run()
      #expect(abs(served.makespan / faulting.makespan - 1) < 0.05, "\(name)")
      #expect(abs(served.mean / faulting.mean - 1) < 0.1, "\(name)")
    }
  }
}
