import Backend
import CLinux
import Metrics
import Threads
import Vocabulary

/// How the memory budget is shared out, and what of it is in use.
///
/// The budget is for all of the process. The scheduler fills its share with weights and with the
/// activations and scratch of batches; what of the share neither takes may hold memory that is kept
/// for the next ones, so that it need not be had from the kernel again. What else the process takes
/// (kernels, connections, requests on their way) nobody plans: it is measured, and the scheduler
/// gets less.
final class MemoryUse: Sendable {
  /// Bytes beside the budget that a process takes for its code, whatever it serves.
  private static let code = 16 << 20
  /// What requests and kernels may take between two measurements, as a part of the budget.
  private static let slackPart = 16
  /// Measurements that count: the largest of them, so that plans do not change with each request.
  private static let memory = 10

  private struct State {
    var budget = 0
    /// What the scheduler was told.
    var share = 0
    /// What nobody planned, measured now and then.
    var unplanned: [Int] = []
    /// The weights for which room was made last, and of what share.
    var room = (weights: -1, share: 0)
  }

  /// Memory that evicted weights and finished batches left, for the next ones.
  let frames: PageFrames
  private let state = Lock(State())
  private let backend: any Backend
  private let budget: Gauge
  private let weights: Gauge
  private let other: Gauge
  private let plans: Gauge
  private let peak: Gauge
  private let processPeak: Gauge

  init(_ registry: Registry, _ backend: any Backend) {
    self.backend = backend
    frames = backend.frames ?? PageFrames()
    budget = registry.gauge(
      "stowage_memory_budget_bytes", "Memory that the process may take; 0 for no limit.")
    let (name, help) = (
      "stowage_memory_bytes",
      "Memory of the budget in use: weights that were paged in, activations and scratch of "
        + "batches, what is kept for the next ones, and other memory of the process."
    )
    func labels(_ kind: String) -> [(name: String, value: String)] { [(name: "kind", value: kind)] }
    weights = registry.gauge(name, help, labels: labels("weights"))
    registry.sampled(name, help, labels: labels("activations")) {
      Double(backend.workingMemory.used.bytes)
    }
    registry.sampled(name, help, labels: labels("kept")) { [frames] in
      Double(backend.workingMemory.idle.bytes + frames.byteCount)
    }
    other = registry.gauge(name, help, labels: labels("other"))
    plans = registry.gauge(
      "stowage_memory_plans_bytes", "What of the budget plans may fill: all but other memory.")
    let (peakName, peakHelp) = (
      "stowage_memory_peak_bytes",
      "The most bytes of each kind so far; process is all of it, measured now and then."
    )
    peak = registry.gauge(peakName, peakHelp, labels: labels("weights"))
    registry.sampled(peakName, peakHelp, labels: labels("activations")) {
      Double(backend.workingMemory.peak.bytes)
    }
    processPeak = registry.gauge(peakName, peakHelp, labels: labels("process"))
  }

  /// Sets the budget; returns the scheduler's share.
  func setBudget(_ bytes: ByteCount) -> ByteCount {
    budget.set(bytes.bytes)
    let unplanned = measureUnplanned()
    return state.withLock { state in
      state.budget = bytes.bytes
      state.unplanned = [unplanned]
      state.share = Self.share(of: state)
      plans.set(state.share)
      return ByteCount(state.share)
    }
  }

  /// Measures what the process takes beside weights and batches.
  ///
  /// - Returns: The scheduler's share, when it has changed by more than it is worth planning anew.
  func measure() -> ByteCount? {
    let unplanned = measureUnplanned()
    return state.withLock { state in
      guard state.budget > 0 else { return nil }
      state.unplanned = state.unplanned.suffix(Self.memory - 1) + [unplanned]
      let share = Self.share(of: state)
      guard abs(share - state.share) > state.budget / 48 else { return nil }
      state.share = share
      plans.set(share)
      return ByteCount(share)
    }
  }

  private func measureUnplanned() -> Int {
    let resident = Int(stowage_resident_bytes())
    processPeak.raise(to: resident)
    let working = backend.workingMemory
    let planned =
      weights.steps + working.used.bytes + working.idle.bytes + frames.byteCount
    other.set(max(resident - planned, 0))
    return resident - planned
  }

  private static func share(of state: State) -> Int {
    let unplanned = max((state.unplanned.max() ?? 0) - code, 0) + state.budget / slackPart
    return max(state.budget - unplanned, state.budget / 4)
  }

  /// Has memory that is kept for others go, as far as weights that come in leave no room for it.
  func makeRoom(forWeights planned: ByteCount) {
    let share = state.withLock { state -> Int? in
      let room = (planned.bytes, state.share)
      guard state.budget > 0, state.room != room || frames.byteCount > 0 else { return nil }
      state.room = room
      return state.share
    }
    guard let share else { return }
    backend.limitWorkingMemory(to: ByteCount(max(share - planned.bytes, 0)))
    let working = backend.workingMemory
    frames.trim(to: share - weights.steps - working.used.bytes - working.idle.bytes)
  }

  /// Counts weights that came, or went with a negative number.
  func addWeights(_ bytes: Int) {
    weights.add(bytes)
    peak.raise(to: weights.steps)
  }
}
