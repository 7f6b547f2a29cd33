import Backend
import CLinux
import Metrics
import Threads
import Vocabulary

/// How the memory budget is shared out, and what of it is in use.
///
/// The budget is for all of the process. The scheduler fills its share with weights and with the
/// activations and scratch of batches; a small share is for memory that the backend keeps between
/// runs, so that it need not be had from the kernel again. What else the process takes (kernels,
/// connections, requests on their way) nobody plans: it is measured, and the scheduler gets less.
final class MemoryUse: Sendable {
  /// The most bytes that are kept, whatever the budget.
  private static let mostKept = 1 << 30
  /// Bytes beside the budget that a process takes for its code, whatever it serves.
  private static let code = 32 << 20
  /// What requests and kernels may take between two measurements, as a part of the budget.
  private static let slackPart = 16

  private struct State {
    var budget = 0
    /// What the scheduler was told.
    var share = 0
  }

  private let state = Lock(State())
  private let backend: any Backend
  private let budget: Gauge
  private let weights: Gauge
  private let peak: Gauge
  private let processPeak: Gauge

  init(_ registry: Registry, _ backend: any Backend) {
    self.backend = backend
    budget = registry.gauge(
      "stowage_memory_budget_bytes", "Memory that the process may take; 0 for no limit.")
    let (name, help) = (
      "stowage_memory_bytes",
      "Memory of the budget in use: weights that were paged in, activations and scratch of "
        + "batches, and what is kept for the next ones."
    )
    func labels(_ kind: String) -> [(name: String, value: String)] { [(name: "kind", value: kind)] }
    weights = registry.gauge(name, help, labels: labels("weights"))
    registry.sampled(name, help, labels: labels("activations")) {
      Double(backend.workingMemory.used.bytes)
    }
    registry.sampled(name, help, labels: labels("kept")) {
      Double(backend.workingMemory.idle.bytes)
    }
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
    backend.keepWorkingMemory(atMost: ByteCount(kept(of: bytes.bytes)))
    let share = share(of: bytes.bytes)
    state.withLock { $0 = State(budget: bytes.bytes, share: share) }
    return ByteCount(share)
  }

  /// Measures what the process takes beside weights and batches.
  ///
  /// - Returns: The scheduler's share, when it has changed by more than it is worth planning anew.
  func measure() -> ByteCount? {
    let known = state.withLock { $0 }
    guard known.budget > 0 else { return nil }
    let share = share(of: known.budget)
    guard abs(share - known.share) > known.budget / 48 else { return nil }
    state.withLock { $0.share = share }
    return ByteCount(share)
  }

  private func kept(of budget: Int) -> Int { min(budget / 16, Self.mostKept) }

  private func share(of budget: Int) -> Int {
    let resident = Int(stowage_resident_bytes())
    processPeak.raise(to: resident)
    let working = backend.workingMemory
    let others = resident - weights.steps - working.used.bytes - working.idle.bytes
    let unplanned = max(others - Self.code, 0) + budget / Self.slackPart
    return max(budget - kept(of: budget) - unplanned, budget / 4)
  }

  /// Counts weights that came, or went with a negative number.
  func addWeights(_ bytes: Int) {
    weights.add(bytes)
    peak.raise(to: weights.steps)
  }
}
