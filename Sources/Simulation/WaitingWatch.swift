import Scheduling
import Vocabulary

/// Checks at every event that nobody waits beyond the bound of Documentation/Scheduling.md.
///
/// Who has waited for the workload's starvation bound is *starved*. The bound on what still follows
/// has a proof, and its two premises are checked beside it:
///
/// 1. From then on no batch begins without somebody who came no later.
/// 2. As long as somebody is starved something runs or comes in.
/// 3. So it takes at most the work of what was live and of a batch for each who came before.
struct WaitingWatch {
  private let starvationNanoseconds: Int64
  private let models: [Int]
  /// Nanoseconds of the arrivals that have happened, by request.
  private var arrivals: [Int64?]
  private var ended: [Bool]
  /// Requests before this one have ended.
  private var eldest = 0
  /// Seconds by which a starved request has to end, by request.
  private var limits: [Double]
  /// The most seconds that a batch takes from its forming to its end, by model.
  private let service: [Double]
  /// The most seconds that trouble costs: a batch falls apart, and all of its requests go alone.
  private let troubleSeconds: Double
  private var troubles = 0.0

  init(_ workload: Workload, _ requests: [QueuedRequest]) {
    starvationNanoseconds = workload.starvationBound.wholeNanoseconds
    models = requests.map(\.model.index)
    arrivals = requests.map { _ in nil }
    ended = requests.map { _ in false }
    limits = requests.map { _ in .infinity }
    let service = workload.models.map { Self.serviceSeconds($0.profile, workload) }
    let largest = workload.models.map(\.profile.maximumBatch).max() ?? 1
    troubleSeconds = Double(largest) * (service.max() ?? 0)
    self.service = service
  }

  /// The most seconds of one batch: every sample alone through the slowest kernel on one unit, and
  /// before each run all memory filled anew over the link at its slowest.
  private static func serviceSeconds(_ profile: ModelProfile, _ workload: Workload) -> Double {
    let piece = SchedulerOptions(units: 1).transferBytes.bytes
    let slow =
      (1 + workload.device.interference) * (1 + (workload.device.link.slowdown ?? 0))
      * (1 + workload.noise)
    var compute = 0.0
    for layer in profile.layers {
      let kernels = (0..<layer.kernelCount).map {
        layer.kernel($0).cost.seconds(batch: 1, units: 1)
      }
      compute += kernels.max() ?? 0
    }
    let share = max(workload.faults.budgetShares.max() ?? 1, 1)
    // What fills memory, and two pieces that were on their way for something else.
    let bytes = Int(share * Double(workload.budget.bytes)) + 2 * piece
    let kernels = workload.models.reduce(0) { sum, model in
      sum + model.profile.layers.reduce(0) { $0 + $1.kernelCount }
    }
    let pieces = kernels + bytes / piece + 1
    let fill =
      workload.device.pageInSeconds(bytes)
      + Double(pieces) * workload.device.pageInSeconds(0)
    let speed = max(workload.faults.linkSpeed.min() ?? 1, 1e-3)
    let runs = Double(profile.layers.count * profile.maximumBatch + 1)
    return Double(profile.maximumBatch) * compute * slow + runs * fill / speed
  }

  mutating func arrive(_ request: Int, at now: Instant) { arrivals[request] = now.nanoseconds }

  /// Takes note of what lets live batches begin anew.
  mutating func trouble() { troubles += 1 }

  /// Works out by when a request has to end that has waited for the bound.
  ///
  /// - Parameter live: The model of each batch that is under way.
  mutating func starve(_ request: Int, live: [Int]) {
    guard !ended[request], let arrival = arrivals[request] else { return }
    var seconds = Double(arrival + starvationNanoseconds) / 1e9 + service[models[request]]
    for model in live { seconds += service[model] }
    for other in eldest..<request where !ended[other] { seconds += service[models[other]] }
    limits[request] = seconds - troubles * troubleSeconds
  }

  /// Takes note of an end; says what is wrong if it came too late.
  mutating func end(_ request: Int, at now: Instant) -> String? {
    ended[request] = true
    while eldest < ended.count, ended[eldest] { eldest += 1 }
    return isLate(request, now) ? "request \(request) waited beyond its bound" : nil
  }

  private func isLate(_ request: Int, _ now: Instant) -> Bool {
    Double(now.nanoseconds) / 1e9 > limits[request] + troubles * troubleSeconds
  }

  /// The one who came first of those who are not answered, if it is starved.
  private func starved(_ now: Instant) -> (request: Int, arrival: Int64)? {
    guard eldest < ended.count, let arrival = arrivals[eldest],
      now.nanoseconds - arrival >= starvationNanoseconds
    else { return nil }
    return (eldest, arrival)
  }

  /// What is wrong with requests that enter a batch, if anything is.
  func broken(by members: ArraySlice<RequestID>, at now: Instant) -> String? {
    guard let starved = starved(now) else { return nil }
    let first = members.lazy.compactMap { arrivals[Int($0.rawValue)] }.min()
    guard let first, first > starved.arrival else { return nil }
    return "a batch begins before request \(starved.request), which has waited beyond the bound"
  }

  /// What is wrong after an event, if anything is.
  func broken(at now: Instant, isIdle: Bool) -> String? {
    guard let starved = starved(now) else { return nil }
    if isIdle { return "nothing happens although request \(starved.request) is starved" }
    return isLate(starved.request, now)
      ? "request \(starved.request) waits beyond its bound" : nil
  }
}
