import Testing
import Vocabulary

@testable import Scheduling

@Suite("What a scheduler says of a batch that it has not formed")
struct ForecastTests {
  private let model = ModelID(0)

  /// Four layers of 100 bytes of weights whose activations shrink.
  private func scheduler(budget: Int?, cost: LayerCost? = nil) -> Scheduler {
    let cost = cost ?? LayerCost(fixed: .milliseconds(1), perSample: .milliseconds(1))
    let layers = [400, 200, 100, 100].map { activations in
      LayerProfile(
        weights: ByteCount(100), activations: ByteCount(activations), scratch: .zero, cost: cost)
    }
    var scheduler = Scheduler(
      SchedulerOptions(
        units: 2, budget: budget.map(ByteCount.init), pageBytes: ByteCount(100),
        linkRate: 1e6, linkLatency: .zero))
    _ = scheduler.step(
      .modelAdded(
        model,
        ModelProfile(
          layers: layers, input: ByteCount(100), maximumBatch: 16, maximumQueueDelay: .zero,
          queueLimit: 4)), at: .zero)
    return scheduler
  }

  @Test("Without a budget all samples go together and nothing comes in")
  func unlimited() throws {
    let forecast = try #require(scheduler(budget: nil).forecast(model, samples: 8))
    #expect(forecast.budget == nil)
    #expect(forecast.segments.map(\.layers) == [0..<4])
    #expect(forecast.segments.map(\.chunk) == [8])
    #expect(forecast.segments.map(\.reason) == [.unlimited])
    #expect(forecast.pageInTime == .zero)
    #expect(forecast.time == .milliseconds(36))
  }

  @Test("Little memory cuts the first layers into chunks and says what all samples would need")
  func chunks() throws {
    let forecast = try #require(scheduler(budget: 3500).forecast(model, samples: 8))
    #expect(forecast.needed <= ByteCount(3500))
    let first = try #require(forecast.segments.first)
    #expect(first.chunk < 8)
    // In the second layer each sample has 400 bytes before it and 200 behind.
    #expect(first.reason == .wouldNotFit(ByteCount(8 * 600 + 100)))
    #expect(forecast.segments.last?.reason == .fits)
    #expect(forecast.segments.flatMap(\.layerBatches).count == 4)
    #expect(forecast.segments.reduce(0) { $0 + $1.layers.count } == 4)
  }

  @Test("What can never fit has no segments, but says what it would need")
  func tooMuch() throws {
    let forecast = try #require(scheduler(budget: 900).forecast(model, samples: 16))
    #expect(forecast.segments.isEmpty)
    #expect(forecast.needed > ByteCount(900))
    #expect(forecast.largestBatch < 16)
    #expect(forecast.time == nil)
  }

  @Test("What is resident need not come in")
  func resident() throws {
    var scheduler = scheduler(budget: 100_000)
    let before = try #require(scheduler.forecast(model, samples: 1))
    #expect(before.pageIns == ByteCount(400))
    #expect(before.pageInTime == .microseconds(400))
    let request = QueuedRequest(id: RequestID(1), model: model, samples: 1)
    var events: [Event] = [.arrived(request)]
    while !events.isEmpty {
      let plan = scheduler.step(events.removeFirst(), at: .zero)
      events += plan.pageIns.map { .pagedIn($0.id, took: .microseconds(100)) }
      events += plan.runs.map { .runFinished($0.id, took: .milliseconds(2)) }
    }
    let after = try #require(scheduler.forecast(model, samples: 1))
    #expect(after.resident == ByteCount(400))
    #expect(after.pageInTime == .zero)
  }

  @Test("Asking changes nothing of what is decided later")
  func pure() throws {
    let silent = scheduler(budget: 3500)
    let asked = scheduler(budget: 3500)
    for samples in 1...16 { _ = asked.forecast(model, samples: samples) }
    let programs = [silent, asked].map { scheduler in
      scheduler.models[0].programs.map { $0 != nil }
    }
    #expect(programs[0] == programs[1])
  }

  @Test("Nothing is said of a model that is not there, and no time of one that never ran")
  func unknown() throws {
    #expect(scheduler(budget: nil).forecast(ModelID(1), samples: 1) == nil)
    #expect(scheduler(budget: nil).forecast(model, samples: 0) == nil)
    let untimed = try #require(
      scheduler(budget: nil, cost: .unknown).forecast(model, samples: 1))
    #expect(untimed.time == nil)
    #expect(untimed.segments.map(\.computeTime) == [nil])
  }
}
