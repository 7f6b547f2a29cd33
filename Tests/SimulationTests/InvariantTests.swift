import Foundation
import Scheduling
import Simulation
import Testing
import Vocabulary

private let root = URL(fileURLWithPath: #filePath)
  .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

private func decode<Value: Decodable>(_ path: String, below folder: URL) throws -> Value {
  try JSONDecoder().decode(
    Value.self, from: Data(contentsOf: URL(fileURLWithPath: path, relativeTo: folder)))
}

/// The mixed workload of Examples with a seed, a length and troubles of its own.
private func workload(seed: Int, seconds: Double, troubled: Bool) throws -> Workload {
  let folder = root.appendingPathComponent("Examples/workloads")
  var file: WorkloadFile = try decode("mix.json", below: folder)
  file.seed = UInt64(seed)
  file.seconds = seconds
  if troubled {
    var faults = Workload.Faults()
    faults.runFailure = 0.02
    faults.pageInFailure = 0.02
    faults.cancellation = 0.1
    faults.linkSpeed = [1, 0.3]
    faults.removesModel = seed % 5 == 0
    file.faults = faults
    for index in file.models.indices where seed % 3 == 0 {
      file.models[index].arrivals.process = .burst
      file.models[index].arrivals.count = 6
    }
  }
  var workload = try file.workload(
    device: { try decode($0, below: folder) }, network: { try decode($0, below: folder) },
    trace: { _ in [] })
  if troubled { workload.starvationBound = .milliseconds([2, 20, 100, 5_000][seed / 4 % 4]) }
  if troubled, seed % 4 == 0 {
    for model in workload.models.indices {
      for layer in workload.models[model].profile.layers.indices {
        workload.models[model].profile.layers[layer].addFasterKernel()
      }
    }
  }
  return workload
}

extension LayerProfile {
  /// A kernel that takes half the time and three times the weights.
  fileprivate mutating func addFasterKernel() {
    alternatives = [
      KernelProfile(
        weights: ByteCount(3 * weights.bytes), scratch: scratch,
        cost: LayerCost(
          batches: cost.batches, units: cost.units, seconds: cost.seconds.map { $0 / 2 }))
    ]
  }
}

extension Simulator {
  /// What comes of it.
  fileprivate func played() -> Report {
    var simulator = self
    return simulator.run()
  }
}

@Suite("Simulation")
struct InvariantTests {
  @Test("Faults, bursts and cancellations break no invariant", arguments: 0..<10)
  func troubles(block: Int) throws {
    for seed in block * 100..<block * 100 + 100 {
      let workload = try workload(seed: seed, seconds: 0.3, troubled: true)
      let entry = PolicyCatalog.stowage
      var simulator = try Simulator(workload, under: entry)
      let report = simulator.run()
      #expect(report.violations.isEmpty, "seed \(seed): \(report.violations)")
      #expect(report.arrived == report.answered + report.rejected, "seed \(seed)")
    }
  }

  @Test("Every policy answers everything when nothing goes wrong", arguments: 0..<1)
  func policies(seed: Int) throws {
    let workload = try workload(seed: seed, seconds: 0.5, troubled: false)
    for entry in PolicyCatalog.standard {
      var simulator = try Simulator(workload, under: entry)
      let report = simulator.run()
      #expect(report.violations.isEmpty, "\(entry.name), seed \(seed): \(report.violations)")
      #expect(
        report.arrived == report.answered + report.rejected, "\(entry.name), seed \(seed)")
    }
  }

  @Test("The check of the bound sees a policy that does not keep it")
  func starving() throws {
    var workload = try workload(seed: 3, seconds: 1, troubled: false)
    workload.starvationBound = .milliseconds(100)
    var entry = try #require(PolicyCatalog.entry(named: "prema"))
    #expect(try Simulator(workload, under: entry).played().violations.isEmpty)
    entry.boundsWaiting = true
    let violations = try Simulator(workload, under: entry).played().violations
    #expect(violations.contains { $0.contains("has waited beyond the bound") })
  }

  @Test("The same seed gives the same report")
  func determinism() throws {
    func report() throws -> Report {
      let workload = try workload(seed: 4, seconds: 0.5, troubled: true)
      let entry = PolicyCatalog.stowage
      var simulator = try Simulator(workload, under: entry)
      return simulator.run()
    }
    let encoder = JSONEncoder()
    encoder.outputFormatting = .sortedKeys
    #expect(try encoder.encode(report()) == encoder.encode(report()))
  }
}
