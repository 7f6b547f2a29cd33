import Scheduling
import Vocabulary

/// Plays a workload under one policy: discrete events, a virtual clock, chance from a seed.
///
/// Runs go layer by layer: weights that are not there are faulted in over the link, then the layer
/// computes. Page-ins of plans go over the same link, one after another. At every event the
/// invariants are checked; a violation is reported with its moment.
public struct Simulator {
  /// What can be due.
  enum Happening {
    case arrival(Int)
    case layerReady(RunID)
    case layerDone(RunID)
    case pagedIn
    case tick(UInt64)
    case cancel(RequestID)
    case second(Int)
    case removal
    case starved(Int)
  }

  /// A run on its way through its layers.
  struct ActiveRun {
    var run: Run
    var layer: Int
    var started: Double
    var isComputing = false
  }

  /// A batch as the device sees it: where its samples stand.
  struct DeviceBatch {
    var model: Int
    /// The next layer of each sample.
    var positions: [Int]
    /// Bytes of its activations now.
    var bytes = 0
  }

  let workload: Workload
  let requests: [(at: Double, request: QueuedRequest)]
  /// Whether the policy plans its memory: then faults and overruns are violations.
  let isPlanned: Bool
  var policy: any Policy
  var queue = EventQueue<Happening>()
  var memory: DeviceMemory
  var random: RandomSource
  var plan = Plan()
  var now = 0.0
  var runs: [ActiveRun] = []
  var batches: [BatchID: DeviceBatch] = [:]
  /// Page-ins that were asked for; the first one is under way.
  var pageIns: [PageIn] = []
  var pageInStarted = 0.0
  var linkFree = 0.0
  var tickOrder: UInt64 = 0
  var ended: [Bool]
  var latencies: [(seconds: Double, weight: Double)] = []
  var report: Report
  var openRequests = 0
  var stalled = 0.0
  var busy = 0.0
  var batchSamples = 0
  /// Checks that nobody waits beyond the bound; nil for policies that do not promise it.
  var watch: WaitingWatch?

  /// A simulation that is ready to run.
  ///
  /// - Throws: A sentence when the policy cannot play the workload.
  public init(_ workload: Workload, under entry: PolicyCatalog.Entry) throws {
    self.workload = workload
    policy = try entry.make(workload)
    isPlanned = entry.isPlanned
    requests = workload.requests()
    memory = DeviceMemory(workload.models.map(\.profile), budget: workload.budget.bytes)
    random = RandomSource(seed: workload.seed ^ 0x5EED)
    ended = Array(repeating: false, count: requests.count)
    report = Report(policy: entry.name)
    if entry.boundsWaiting { watch = WaitingWatch(workload, requests.map(\.request)) }
  }

  /// Plays it to the end.
  public mutating func run() -> Report {
    for (index, model) in workload.models.enumerated() {
      deliver(.modelAdded(ModelID(Int32(index)), model.profile))
    }
    for (index, entry) in requests.enumerated() { queue.push(.arrival(index), at: entry.at) }
    if watch != nil {
      let bound = workload.starvationBound.inSeconds
      for (index, entry) in requests.enumerated() {
        queue.push(.starved(index), at: entry.at + bound)
      }
    }
    scheduleTrouble()
    // A policy that neither runs nor waits would tick for ever: bounded by far more than is needed.
    var left = 2_000_000 + requests.count * 2_000
    while left > 0, let (moment, happening) = queue.pop() {
      left -= 1
      advance(to: moment)
      happen(happening)
    }
    return finishedReport()
  }

  private mutating func scheduleTrouble() {
    let faults = workload.faults
    if !faults.budgetShares.isEmpty {
      for second in 1...max(Int(workload.seconds), 1) {
        queue.push(.second(second), at: Double(second))
      }
    }
    if faults.removesModel { queue.push(.removal, at: workload.seconds / 2) }
    guard faults.cancellation > 0 else { return }
    for entry in requests where random.chance(faults.cancellation) {
      queue.push(.cancel(entry.request.id), at: entry.at + random.exponential(mean: 0.05))
    }
  }

  private mutating func advance(to moment: Double) {
    let passed = moment - now
    if openRequests > 0 {
      busy += passed
      if !runs.contains(where: \.isComputing) { stalled += passed }
    }
    now = moment
  }

  private mutating func happen(_ happening: Happening) {
    switch happening {
    case .arrival(let index):
      openRequests += 1
      report.arrived += 1
      let moment = instant
      watch?.arrive(index, at: moment)
      deliver(.arrived(requests[index].request))
    case .layerReady(let id): computeLayer(id)
    case .layerDone(let id): finishLayer(id)
    case .pagedIn: finishPageIn()
    case .tick(let order): if order == tickOrder { deliver(.tick) }
    case .cancel(let id): deliver(.cancelled(id))
    case .removal:
      watch?.trouble()
      deliver(.modelRemoved(ModelID(0)))
    case .second(let second): changeBudget(second)
    case .starved(let index):
      let live = batches.values.map(\.model)
      watch?.starve(index, live: live)
    }
  }

  private mutating func changeBudget(_ second: Int) {
    let shares = workload.faults.budgetShares
    let bytes = Int(Double(workload.budget.bytes) * shares[second % shares.count])
    memory.budget = bytes
    watch?.trouble()
    deliver(.budgetChanged(ByteCount(bytes)))
  }

  /// Tells the policy, and carries its plan out.
  mutating func deliver(_ event: Event) {
    let moment = instant
    policy.step(event, at: moment, into: &plan)
    let plan = self.plan
    for eviction in plan.evictions { evict(eviction) }
    for rejection in plan.rejections { end(rejection.request, answered: false) }
    for request in plan.answers { end(request, answered: true) }
    for batch in plan.completions + plan.returns { release(batch) }
    for batch in plan.batches {
      accept(batch)
      if let broken = watch?.broken(by: plan.requests(of: batch), at: moment) { violate(broken) }
    }
    for pageIn in plan.pageIns { accept(pageIn) }
    for run in plan.runs { accept(run) }
    if let wakeAt = plan.wakeAt {
      tickOrder += 1
      queue.push(.tick(tickOrder), at: max(Double(wakeAt.nanoseconds) / 1e9, now))
    }
    checkTotals()
    let isIdle = runs.isEmpty && pageIns.isEmpty
    if let broken = watch?.broken(at: moment, isIdle: isIdle) { violate(broken) }
  }

  private var instant: Instant { Instant(nanoseconds: Int64((now * 1e9).rounded())) }

  private mutating func end(_ request: RequestID, answered: Bool) {
    let index = Int(request.rawValue)
    guard requests.indices.contains(index) else {
      return violate("request \(index) was never sent")
    }
    if ended[index] { return violate("request \(index) ended twice") }
    ended[index] = true
    openRequests -= 1
    let moment = instant
    if let broken = watch?.end(index, at: moment) { violate(broken) }
    guard answered else {
      report.rejected += 1
      return
    }
    report.answered += 1
    let model = requests[index].request.model.index
    latencies.append(
      (now - requests[index].at, workload.models[model].profile.weight))
    report.makespan = (now - (requests.first?.at ?? 0)) * 1e3
  }

  private mutating func finishedReport() -> Report {
    report.unfinished = openRequests
    report.summarise(latencies)
    report.throughput = report.makespan > 0 ? Double(report.answered) / report.makespan * 1e3 : 0
    report.stallShare = busy > 0 ? stalled / busy : 0
    report.peakMegabytes = Double(memory.peak) / 1e6
    let batches = max(report.meanBatch, 1)
    report.meanBatch = Double(batchSamples) / batches
    if openRequests > 0 { violate("\(openRequests) requests never ended") }
    return report
  }

  mutating func violate(_ sentence: String) {
    guard report.violations.count < 10 else { return }
    report.violations.append("at \(now) s: \(sentence)")
  }

  mutating func checkTotals() {
    let units = runs.reduce(0) { $0 + $1.run.units }
    if units > workload.device.units {
      violate("\(units) units are in use of \(workload.device.units)")
    }
    if isPlanned, memory.total > memory.budget, workload.faults.budgetShares.isEmpty {
      violate("\(memory.total) bytes are in use of \(memory.budget)")
    }
  }
}
