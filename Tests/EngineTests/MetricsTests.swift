import Metrics
import NullBackend
import Testing
import Threads
import Vocabulary

@testable import Engine

@Suite("What the metrics of a model tell")
struct MetricsTests {
  private func lines(_ registry: Registry) -> [String] {
    String(decoding: registry.text(), as: UTF8.self).split(separator: "\n").map(String.init)
  }

  @Test("Predicted and measured time are summed over the same batches: those with a prediction")
  func predictions() {
    let registry = Registry()
    let metrics = ModelMetrics(registry, model: "m", version: "1")
    metrics.batchFinished(.milliseconds(12), predicted: .milliseconds(10))
    metrics.batchFinished(.milliseconds(9), predicted: .milliseconds(10))
    metrics.batchFinished(.seconds(5), predicted: nil)
    metrics.batchFinished(.seconds(5), predicted: .zero)
    let labels = #"model="m",version="1""#
    let lines = lines(registry)
    #expect(lines.contains("stowage_batch_predicted_seconds_total{\(labels)} 0.02"))
    #expect(lines.contains("stowage_batch_measured_seconds_total{\(labels)} 0.021"))
    #expect(lines.contains("stowage_batch_measured_ratio_count{\(labels)} 2"))
    #expect(lines.contains(#"stowage_batch_measured_ratio_bucket{\#(labels),le="0.9"} 1"#))
    #expect(lines.contains(#"stowage_batch_measured_ratio_bucket{\#(labels),le="1.25"} 2"#))
    #expect(lines.contains("stowage_compute_seconds_count{\(labels)} 4"))
  }

  @Test("Weights and activations are told by model, with the most so far, and evictions by age")
  func memory() {
    let registry = Registry()
    let backend = NullBackend(computeUnits: 1) { _, _, _ in .zero }
    let paging = PagingMetrics(
      registry, model: "m", version: "1", layers: 2, MemoryUse(registry, backend))
    paging.pagedIn(0, 1000, took: .milliseconds(1))
    paging.pagedIn(1, 500, took: .milliseconds(1))
    paging.addActivations(70)
    paging.addActivations(-30)
    paging.used(0..<2, at: Instant(nanoseconds: Clock.nanoseconds - 2_000_000_000))
    paging.evicted(0, 600)
    let labels = #"model="m",version="1""#
    let lines = lines(registry)
    for (name, kind, value) in [
      ("memory", "weights", 900), ("memory_peak", "weights", 1500),
      ("memory", "activations", 40), ("memory_peak", "activations", 70),
    ] {
      #expect(
        lines.contains(#"stowage_model_\#(name)_bytes{\#(labels),kind="\#(kind)"} \#(value)"#))
    }
    #expect(lines.contains(#"stowage_page_in_bytes_total{\#(labels),mode="planned"} 1500"#))
    #expect(lines.contains(#"stowage_page_in_bytes_total{\#(labels),mode="demand"} 0"#))
    #expect(lines.contains(#"stowage_memory_bytes{kind="weights"} 900"#))
    #expect(lines.contains("stowage_evictions_total{\(labels)} 1"))
    #expect(lines.contains(#"stowage_eviction_age_seconds_bucket{\#(labels),le="1"} 0"#))
    #expect(lines.contains("stowage_eviction_age_seconds_count{\(labels)} 1"))
  }

  @Test("Weights that were never used count from their page-in, others from their last use")
  func ages() {
    let registry = Registry()
    let paging = PagingMetrics(
      registry, model: "m", version: "1", layers: 1,
      MemoryUse(registry, NullBackend(computeUnits: 1) { _, _, _ in .zero }))
    paging.pagedIn(0, 1000, took: .milliseconds(1))
    paging.evicted(0, 1000)
    let young = lines(registry).first { $0.hasPrefix("stowage_eviction_age_seconds_bucket") }
    let count = lines(registry).filter { $0.hasPrefix("stowage_eviction_age_seconds_count") }
    #expect(young?.contains(#"le="0.01""#) == true)
    #expect(count.first?.hasSuffix(" 1") == true)
  }
}
