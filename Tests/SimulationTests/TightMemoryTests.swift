import Scheduling
import Simulation
import Testing
import Vocabulary

/// Random models whose activations need memory as badly as their weights do, so that batches go
/// through in chunks, in a budget that little more than one of them fits into; every third seed has
/// layers with several kernels.
private func workload(seed: UInt64) -> Workload {
  var random = RandomSource(seed: seed)
  let megabyte = 1e6
  var least = 0.0
  let models = (0..<2 + random.below(3)).map { number in
    var before = random.uniform() * 4 * megabyte
    let input = ByteCount(Int(before))
    let layers = (0..<3 + random.below(6)).map { _ in
      let weights = (0.2 + 12 * random.uniform() * random.uniform()) * megabyte
      let after = (0.05 + 4 * random.uniform() * random.uniform()) * megabyte
      least = max(least, weights + before + after)
      before = after
      let each = (0.2 + random.uniform()) / 1e3
      var layer = LayerProfile(
        weights: ByteCount(Int(weights)), activations: ByteCount(Int(after)), scratch: .zero,
        cost: LayerCost(
          batches: [1, 2], units: [1, 2],
          seconds: [each, 1.6 * each, 0.7 * each, 1.2 * each]))
      if seed % 3 == 0, random.chance(0.7) { layer.addFasterKernel(&random) }
      return layer
    }
    var arrivals = Arrivals(.poisson, rate: 60)
    arrivals.samples = [1, 2, 5]
    return Workload.Model(
      name: "model \(number)",
      profile: ModelProfile(
        layers: layers, input: input, maximumBatch: 16, maximumQueueDelay: .zero,
        queueLimit: 1 << 20),
      arrivals: arrivals)
  }
  let device = DeviceProfile(
    name: "tight", source: "random", units: 2, pageKilobytes: 64,
    link: .init(gigabytesPerSecond: 4, latencyMicroseconds: 30))
  let budget = ByteCount(Int(least * (1.1 + 2 * random.uniform())))
  var faults = Workload.Faults()
  if seed % 2 == 1 {
    (faults.runFailure, faults.pageInFailure, faults.cancellation) = (0.01, 0.01, 0.05)
  }
  if seed % 10 == 1 { faults.removesModel = true }
  let shrinks = seed % 4 == 0
  if shrinks {
    faults.budgetShares = [
      1, 0.6 + 0.4 * random.uniform(), 1.1, 0.5 + 0.5 * random.uniform(),
    ]
  }
  return Workload(
    device: device, budget: budget, models: models, seconds: shrinks ? 4 : 0.4, seed: seed,
    noise: 0.05, faults: faults,
    starvationBound: .milliseconds([5, 50, 5_000][Int(seed / 4 % 3)]))
}

extension LayerProfile {
  /// Adds a kernel that takes less time and more memory, as Winograd's does.
  fileprivate mutating func addFasterKernel(_ random: inout RandomSource) {
    let speed = 0.4 + 0.5 * random.uniform()
    alternatives.append(
      KernelProfile(
        weights: ByteCount(Int(Double(weights.bytes) * (1.2 + 3 * random.uniform()))),
        scratch: ByteCount(Int(1e6 * random.uniform())),
        cost: LayerCost(
          batches: cost.batches, units: cost.units, seconds: cost.seconds.map { $0 * speed })))
  }
}

@Suite("Memory that hardly suffices")
struct TightMemoryTests {
  @Test("Whatever is decided, the budget holds and every request ends", arguments: 0..<8)
  func budgets(block: UInt64) throws {
    for seed in block * 25..<block * 25 + 25 {
      let workload = workload(seed: seed)
      for entry in [PolicyCatalog.stowage] + PolicyCatalog.ablations {
        var simulator = try Simulator(workload, under: entry)
        let report = simulator.run()
        #expect(report.violations.isEmpty, "\(entry.name), seed \(seed): \(report.violations)")
      }
    }
  }
}
