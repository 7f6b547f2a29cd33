import Metrics
import Synchronization
import Threads
import Vocabulary

/// What of a model came into memory and left it.
final class PagingMetrics: Sendable {
  private let resident: Gauge
  private let pageInBytes: Counter
  private let pageInTime: Counter
  private let evictedBytes: Counter
  private let evictions: Counter
  private let faults: Counter
  private let stalls: Counter
  private let memory: MemoryUse
  /// When weights came in last, in nanoseconds.
  private let lastPageIn = Atomic<Int64>(0)

  init(_ registry: Registry, model: String, version: String, _ memory: MemoryUse) {
    self.memory = memory
    let labels = [(name: "model", value: model), (name: "version", value: version)]
    func counter(_ name: String, _ help: String, scale: Double = 1) -> Counter {
      registry.counter(name, help, labels: labels, scale: scale)
    }
    resident = registry.gauge(
      "stowage_model_resident_bytes", "Weights of the model that were paged in.", labels: labels)
    pageInBytes = counter("stowage_page_in_bytes_total", "Bytes of weights paged in as planned.")
    pageInTime = counter(
      "stowage_page_in_seconds_total", "Time that page-ins took, not counting their queue.",
      scale: 1e-9)
    evictedBytes = counter("stowage_evicted_bytes_total", "Bytes of weights evicted as planned.")
    evictions = counter("stowage_evictions_total", "Evictions, each of a part of a layer.")
    faults = counter(
      "stowage_page_faults_total",
      "Page faults of runs that read from the disk: weights that were not there as planned.")
    stalls = counter(
      "stowage_stall_seconds_total", "Time that batches stood still while weights came in.",
      scale: 1e-9)
  }

  func pagedIn(_ bytes: Int, took: Duration) {
    lastPageIn.store(Clock.nanoseconds, ordering: .relaxed)
    resident.add(bytes)
    memory.addWeights(bytes)
    pageInBytes.add(bytes)
    pageInTime.add(Int(took.wholeNanoseconds))
  }

  func evicted(_ bytes: Int) {
    resident.add(-bytes)
    memory.addWeights(-bytes)
    evictedBytes.add(bytes)
    evictions.add()
  }

  func faulted(_ count: Int64) { if count > 0 { faults.add(Int(count)) } }

  /// A batch goes on at a moment after it stood still since another one.
  func resumed(at now: Instant, since idle: Instant) {
    if lastPageIn.load(ordering: .relaxed) > idle.nanoseconds {
      stalls.add(Int((now - idle).wholeNanoseconds))
    }
  }
}
