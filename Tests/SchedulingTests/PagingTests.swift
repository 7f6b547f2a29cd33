import Testing
import Vocabulary

@testable import Scheduling

@Suite("Page-ins under way")
struct PagingTests {
  /// How many page-ins the first request for ten layers of 100 bytes starts at once.
  private func started(gathered: Int, features: SchedulerOptions.Features = .all) -> Int {
    var scheduler = Scheduler(
      SchedulerOptions(
        units: 1, budget: ByteCount(10_000), pageBytes: ByteCount(100),
        gatheredBytes: ByteCount(gathered), features: features))
    let layer = LayerProfile(
      weights: ByteCount(100), activations: .zero, scratch: .zero,
      cost: LayerCost(batches: [1], units: [1], seconds: [0.03]))
    let profile = ModelProfile(
      layers: Array(repeating: layer, count: 10), maximumBatch: 1, maximumQueueDelay: .zero,
      queueLimit: 100)
    var plan = Plan()
    scheduler.step(.modelAdded(ModelID(0), profile), at: .zero, into: &plan)
    scheduler.step(
      .arrived(QueuedRequest(id: RequestID(0), model: ModelID(0), samples: 1)), at: .zero,
      into: &plan)
    return plan.pageIns.count
  }

  @Test("One is carried out and one waits; small ones are handed out as far as they are gathered")
  func gathering() {
    #expect(started(gathered: 0) == 2)
    #expect(started(gathered: 150) == 2)
    #expect(started(gathered: 450) == 5)
    #expect(started(gathered: 5000) == 10)
  }

  @Test("Without prefetch there is never more than one")
  func withoutPrefetch() {
    let features = SchedulerOptions.Features.all.subtracting(.prefetch)
    #expect(started(gathered: 5000, features: features) == 1)
  }
}
