import CLinux
import Metrics
import Synchronization
import Threads
import Vocabulary

/// What of a model came into memory and left it.
final class PagingMetrics: Sendable {
  /// Upper bounds of ages, in seconds: from one batch of the next model to a quiet afternoon.
  private static let ages = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 1000, 10_000]

  /// Memory of one kind, with the most so far.
  private struct Kind: Sendable {
    let now: Gauge
    let peak: Gauge

    func add(_ bytes: Int) {
      now.add(bytes)
      peak.raise(to: now.steps)
    }
  }

  private let weights: Kind
  private let activations: Kind
  private let planned: Counter
  private let demanded: Counter
  private let pageInTime: Counter
  private let evictedBytes: Counter
  private let evictions: Counter
  private let evictionAge: Histogram
  private let faults: Counter
  private let stalls: Counter
  private let memory: MemoryUse
  /// When weights came in last, in nanoseconds.
  private let lastPageIn = Atomic<Int64>(0)
  /// When each layer came in or was used last, in nanoseconds.
  private let lastUses: Lock<[Int64]>

  init(
    _ registry: Registry, model: String, version: String, layers: Int, _ memory: MemoryUse
  ) {
    self.memory = memory
    lastUses = Lock(Array(repeating: 0, count: layers))
    let labels = [(name: "model", value: model), (name: "version", value: version)]
    func counter(_ name: String, _ help: String, scale: Double = 1) -> Counter {
      registry.counter(name, help, labels: labels, scale: scale)
    }
    func kind(_ kind: String) -> Kind {
      let labels = labels + [(name: "kind", value: kind)]
      return Kind(
        now: registry.gauge(
          "stowage_model_memory_bytes",
          "Weights of the model that were paged in, and activations of its batches.",
          labels: labels),
        peak: registry.gauge(
          "stowage_model_memory_peak_bytes", "The most bytes of each kind so far.", labels: labels)
      )
    }
    func pageIns(_ mode: String) -> Counter {
      registry.counter(
        "stowage_page_in_bytes_total",
        "Bytes of weights that came in as planned, or on demand: read by faults of runs.",
        labels: labels + [(name: "mode", value: mode)])
    }
    (weights, activations) = (kind("weights"), kind("activations"))
    (planned, demanded) = (pageIns("planned"), pageIns("demand"))
    pageInTime = counter(
      "stowage_page_in_seconds_total", "Time that page-ins took, not counting their queue.",
      scale: 1e-9)
    evictedBytes = counter("stowage_evicted_bytes_total", "Bytes of weights evicted as planned.")
    evictions = counter("stowage_evictions_total", "Evictions, each of a part of a layer.")
    evictionAge = registry.histogram(
      "stowage_eviction_age_seconds",
      "From the last use of weights, or their page-in, to their eviction.", labels: labels,
      bounds: Self.ages, scale: 1e-9)
    faults = counter(
      "stowage_page_faults_total",
      "Page faults of runs that read from the disk: weights that were not there as planned.")
    stalls = counter(
      "stowage_stall_seconds_total", "Time that batches stood still while weights came in.",
      scale: 1e-9)
  }

  func pagedIn(_ layer: Int, _ bytes: Int, took: Duration) {
    let now = Clock.nanoseconds
    lastPageIn.store(now, ordering: .relaxed)
    touch(layer..<layer + 1, at: now)
    weights.add(bytes)
    memory.addWeights(bytes)
    planned.add(bytes)
    pageInTime.add(Int(took.wholeNanoseconds))
  }

  func evicted(_ layer: Int, _ bytes: Int) {
    weights.add(-bytes)
    memory.addWeights(-bytes)
    evictedBytes.add(bytes)
    evictions.add()
    let last = lastUses.withLock { $0.indices.contains(layer) ? $0[layer] : 0 }
    if last > 0 { evictionAge.observe(Int(Clock.nanoseconds - last)) }
  }

  /// Layers go into a run.
  func used(_ layers: Range<Int>, at now: Instant) { touch(layers, at: now.nanoseconds) }

  private func touch(_ layers: Range<Int>, at nanoseconds: Int64) {
    lastUses.withLock { uses in
      for layer in layers.clamped(to: uses.indices) { uses[layer] = nanoseconds }
    }
  }

  /// The activations of a batch have grown, or with a negative number shrunk.
  func addActivations(_ bytes: Int) { activations.add(bytes) }

  /// What the calling thread has read from the disk without being told to.
  struct ThreadReads {
    private let faults = stowage_thread_major_faults()
    private let bytes = stowage_thread_read_bytes()

    /// Counts what was read since.
    func count(_ metrics: PagingMetrics) {
      let more = stowage_thread_major_faults() - faults
      guard more > 0 else { return }
      metrics.faults.add(Int(more))
      metrics.demanded.add(Int(max(stowage_thread_read_bytes() - bytes, 0)))
    }
  }

  /// A batch goes on at a moment after it stood still since another one.
  func resumed(at now: Instant, since idle: Instant) {
    if lastPageIn.load(ordering: .relaxed) > idle.nanoseconds {
      stalls.add(Int((now - idle).wholeNanoseconds))
    }
  }
}
