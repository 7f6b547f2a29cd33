import Testing
import Vocabulary

@testable import Scheduling

@Suite("A budget that shrinks under live batches")
struct BudgetTests {
  private func profile() -> ModelProfile {
    let layer = LayerProfile(
      weights: ByteCount(100), activations: ByteCount(1000), scratch: .zero,
      cost: LayerCost(batches: [1], units: [1], seconds: [0.03]))
    return ModelProfile(
      layers: [layer, layer, layer], input: ByteCount(1000), maximumBatch: 4,
      maximumQueueDelay: .zero, queueLimit: 100)
  }

  /// What became of two requests for two models when the budget is cut after some steps.
  private func outcome(
    cutAfter cut: Int, to bytes: Int
  ) -> (answered: Int, rejected: Int, returned: Int) {
    var scheduler = Scheduler(
      SchedulerOptions(
        units: 1, budget: ByteCount(10_000), pageBytes: ByteCount(100),
        transferBytes: ByteCount(100), maximumRun: .milliseconds(1)))
    var plan = Plan()
    var outcome = (answered: 0, rejected: 0, returned: 0)
    var queue: [Event] = (0..<2).map { .modelAdded(ModelID($0), profile()) }
    for number in 0..<2 {
      queue.append(
        .arrived(
          QueuedRequest(
            id: RequestID(UInt64(number)), model: ModelID(Int32(number)), samples: 1,
            priority: 1 - number)))
    }
    var steps = 0
    while !queue.isEmpty {
      let event = steps == cut ? .budgetChanged(ByteCount(bytes)) : queue.removeFirst()
      steps += 1
      scheduler.step(event, at: Instant(nanoseconds: Int64(steps) * 1_000_000), into: &plan)
      outcome.answered += plan.answers.count
      outcome.rejected += plan.rejections.count
      outcome.returned += plan.returns.count
      for pageIn in plan.pageIns { queue.append(.pagedIn(pageIn.id, took: .milliseconds(1))) }
      for run in plan.runs { queue.append(.runFinished(run.id, took: .milliseconds(30))) }
    }
    #expect(scheduler.reservedActivations == .zero)
    return outcome
  }

  @Test("Whenever it shrinks, nobody waits for ever: a batch gives way and its request waits again")
  func givingWay() {
    var returned = 0
    for cut in 4..<30 {
      for bytes in stride(from: 2200, to: 4000, by: 200) {
        let outcome = outcome(cutAfter: cut, to: bytes)
        #expect(outcome.answered == 2, "cut to \(bytes) after \(cut) steps: \(outcome)")
        #expect(outcome.rejected == 0)
        returned += outcome.returned
      }
    }
    #expect(returned > 0)
  }
}
