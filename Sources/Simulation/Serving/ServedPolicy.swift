public import Scheduling
public import Vocabulary

/// A policy of the catalog on a real device, so that what it was simulated to do can be measured.
///
/// The policies that we are compared with look at all models and at the memory once, when they are
/// made, and most of them leave weights to page faults. A server learns of models and memory while
/// it runs, and no run begins there before its weights are in memory. So the policy is made when
/// requests come and none is under way, and made anew after models came or went or the memory
/// changed by a tenth; page faults are served by `PageFaults`.
public struct ServedPolicy: Policy {
  private let entry: PolicyCatalog.Entry
  private let device: DeviceProfile
  private var profiles: [ModelProfile] = []
  private var isGone: [Bool] = []
  private var budget: Int
  private var faults: PageFaults
  /// The memory that the policy was made for; nil before it is made, and when models have changed.
  private var madeFor: Int?
  /// Requests that were not answered yet.
  private var open = 0

  init(_ entry: PolicyCatalog.Entry, on device: DeviceProfile, budget: ByteCount) {
    self.entry = entry
    self.device = device
    self.budget = budget.bytes
    faults = PageFaults(Idle(), budget: budget.bytes, page: device.page.bytes)
  }

  /// Takes one event and says what to do now.
  public mutating func step(_ event: Event, at now: Instant, into plan: inout Plan) {
    plan.removeAll()
    switch event {
    case .modelAdded(_, let profile):
      profiles.append(profile)
      isGone.append(false)
      madeFor = nil
    case .modelRemoved(let model):
      isGone[model.index] = true
      madeFor = nil
    case .budgetChanged(let bytes): budget = bytes.bytes
    case .arrived:
      if open == 0, madeFor.map({ abs($0 - budget) * 10 > $0 }) ?? true { make(at: now, &plan) }
      open += 1
    default: break
    }
    faults.step(event, at: now, into: &plan)
    open -= plan.answers.count + plan.rejections.count
  }

  /// Makes the policy for the models and the memory that there are; nothing is resident yet.
  private mutating func make(at now: Instant, _ plan: inout Plan) {
    let models = profiles.enumerated().map {
      Workload.Model(name: "\($0)", profile: $1, arrivals: Arrivals(.burst))
    }
    let workload = Workload(
      device: device, budget: ByteCount(budget), models: models, seconds: 0, seed: 0)
    // None of those that do not plan refuses a workload.
    guard let policy = try? entry.make(workload) else { return }
    faults.replace(with: policy, &plan)
    for (index, profile) in profiles.enumerated() {
      let model = ModelID(Int32(index))
      faults.tell(.modelAdded(model, profile), at: now)
      if isGone[index] { faults.tell(.modelRemoved(model), at: now) }
    }
    madeFor = budget
  }
}

/// What stands in until the first request comes.
private struct Idle: Policy {
  mutating func step(_ event: Event, at now: Instant, into plan: inout Plan) { plan.removeAll() }
}

extension PolicyCatalog.Entry {
  /// The policy as a server can use it.
  ///
  /// - Parameters:
  ///   - units: Compute units of the machine.
  ///   - budget: Memory for weights, activations and scratch, until the server says otherwise.
  /// - Throws: A sentence, where a policy has to know all requests ahead.
  public func served(units: Int, budget: ByteCount) throws -> any Policy {
    let device = DeviceProfile(
      name: "server", source: "the scheduler's own defaults", units: units, interference: 0.05,
      link: DeviceProfile.Link(gigabytesPerSecond: 2, latencyMicroseconds: 30))
    guard isPlanned else { return ServedPolicy(self, on: device, budget: budget) }
    return try make(Workload(device: device, budget: budget, models: [], seconds: 0, seed: 0))
  }
}
