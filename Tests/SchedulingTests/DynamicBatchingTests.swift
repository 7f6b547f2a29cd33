import Scheduling
import Testing
import Vocabulary

/// Milliseconds since the start of a story.
private func at(_ milliseconds: Double) -> Instant {
  Instant(nanoseconds: Int64(milliseconds * 1e6))
}

private let camera = ModelID(0)
private let microphone = ModelID(1)

private func profile(
  batch: Int = 4, delay: Duration = .zero, limit: Int = 8
) -> ModelProfile {
  let layer = LayerProfile(weights: .zero, activations: .zero, scratch: .zero)
  return ModelProfile(
    layers: [layer, layer], maximumBatch: batch, maximumQueueDelay: delay, queueLimit: limit)
}

private func scheduler(_ profiles: ModelProfile..., runs: Int = 1) -> Scheduler {
  var scheduler = Scheduler(.init(units: 2, executors: runs))
  for (index, profile) in profiles.enumerated() {
    _ = scheduler.step(.modelAdded(ModelID(Int32(index)), profile), at: .zero)
  }
  return scheduler
}

private func request(
  _ id: UInt64, _ model: ModelID = camera, samples: Int = 1, shape: Int = 0, priority: Int = 0,
  deadline: Instant? = nil
) -> Event {
  .arrived(
    QueuedRequest(
      id: RequestID(id), model: model, samples: samples, shapeClass: shape, priority: priority,
      deadline: deadline))
}

@Suite("Dynamic batching")
struct DynamicBatchingTests {
  @Test("A request runs at once when the units are free and nothing is gained by waiting")
  func runsAtOnce() throws {
    var scheduler = scheduler(profile())
    let plan = scheduler.step(request(1), at: at(1))
    let batch = try #require(plan.batches.first)
    #expect(plan.requests(of: batch) == [RequestID(1)])
    #expect(batch.reason == .idle)
    #expect(plan.runs.first?.layers == 0..<2)
    #expect(plan.runs.first?.units == 2)
  }

  @Test("What comes during a run travels together in the next one, up to the maximum")
  func batchesWhileBusy() throws {
    var scheduler = scheduler(profile(batch: 4))
    let first = scheduler.step(request(1), at: at(0))
    for id in 2...6 { #expect(scheduler.step(request(UInt64(id)), at: at(1)).runs.isEmpty) }
    let run = try #require(first.runs.first)
    let plan = scheduler.step(.runFinished(run.id, took: .milliseconds(3)), at: at(3))
    #expect(plan.completions == [run.batch])
    #expect(plan.members == [2, 3, 4, 5].map { RequestID($0) })
    #expect(plan.batches.first?.reason == .full)
    #expect(scheduler.queuedRequests(camera) == 1)
  }

  @Test("With a queue delay a request waits for company, but no longer than that")
  func waitsForCompany() throws {
    var scheduler = scheduler(profile(batch: 4, delay: .milliseconds(5)))
    let first = scheduler.step(request(1), at: at(10))
    #expect(first.runs.isEmpty)
    #expect(first.wakeAt == at(15))
    #expect(scheduler.step(request(2), at: at(12)).runs.isEmpty)
    let plan = scheduler.step(.tick, at: at(15))
    #expect(plan.members == [RequestID(1), RequestID(2)])
    #expect(plan.batches.first?.reason == .delay)
  }

  @Test(
    "Clients that ask again as soon as they are answered travel together, not one and the rest",
    arguments: [0.5, 1.1])
  func waitsForThoseWhoComeBack(gap: Double) throws {
    var scheduler = scheduler(profile(batch: 8, limit: 16))
    var (now, next) = (0.0, UInt64(4))
    var plan = scheduler.step(request(0), at: at(now))
    for id in 1..<4 { _ = scheduler.step(request(UInt64(id)), at: at(now)) }
    var sizes: [Int] = []
    for _ in 0..<12 {
      let run = try #require(plan.runs.first)
      now += 10 * Double(run.samples.count)
      plan = scheduler.step(
        .runFinished(run.id, took: .milliseconds(10 * run.samples.count)), at: at(now))
      // Everybody who was answered is back within half of the time that a sample takes.
      for _ in plan.answers {
        now += gap
        let step = scheduler.step(request(next), at: at(now))
        next += 1
        if plan.runs.isEmpty { plan = step }
      }
      sizes.append(try #require(plan.runs.first).samples.count)
    }
    #expect(sizes.suffix(3) == [4, 4, 4])
  }

  @Test("In a closed loop all travel together although a single one would be answered sooner")
  func closedLoopTurnsFastest() throws {
    let cost = LayerCost(batches: [1, 8], units: [2], seconds: [0.010, 0.078])
    let layer = LayerProfile(
      weights: .zero, activations: .zero, scratch: .zero, cost: cost)
    var scheduler = scheduler(
      ModelProfile(layers: [layer], maximumBatch: 8, maximumQueueDelay: .zero, queueLimit: 16))
    var (now, next) = (0.0, UInt64(8))
    var plan = scheduler.step(request(0), at: at(now))
    for id in 1..<8 { _ = scheduler.step(request(UInt64(id)), at: at(now)) }
    var sizes: [Int] = []
    for _ in 0..<40 {
      let run = try #require(plan.runs.first)
      let took = 10 * Double(run.samples.count) - 0.25 * Double(run.samples.count - 1)
      now += took
      plan = scheduler.step(.runFinished(run.id, took: .microseconds(Int(took * 1e3))), at: at(now))
      for _ in plan.answers {
        now += 0.2
        let step = scheduler.step(request(next), at: at(now))
        next += 1
        if plan.runs.isEmpty { plan = step }
      }
      sizes.append(try #require(plan.runs.first).samples.count)
    }
    #expect(sizes.suffix(4) == [8, 8, 8, 8], "\(sizes)")
  }

  @Test("Who comes once does not make the next one wait")
  func doesNotWaitForStrangers() throws {
    var scheduler = scheduler(profile(batch: 8))
    for id in 0..<20 {
      let plan = scheduler.step(request(UInt64(id)), at: at(100 * Double(id)))
      let run = try #require(plan.runs.first)
      let moment = at(100 * Double(id) + 40)
      #expect(
        scheduler.step(.runFinished(run.id, took: .milliseconds(40)), at: moment).wakeAt == nil)
    }
  }

  @Test("Requests of several samples are neither split nor overtaken for their size")
  func severalSamples() throws {
    var scheduler = scheduler(profile(batch: 4, limit: 8))
    let first = scheduler.step(request(1), at: at(0))
    for (id, samples) in [(2, 3), (3, 2), (4, 1)] {
      _ = scheduler.step(request(UInt64(id), samples: samples), at: at(1))
    }
    let run = try #require(first.runs.first)
    let plan = scheduler.step(.runFinished(run.id, took: .milliseconds(1)), at: at(2))
    #expect(plan.members == [RequestID(2)])
    #expect(plan.batches.first?.samples == 0..<3)
  }

  @Test("Only requests of one shape class travel together; the others keep their places")
  func shapeClasses() throws {
    var scheduler = scheduler(profile(batch: 4))
    let first = scheduler.step(request(1), at: at(0))
    for (id, shape) in [(2, 0), (3, 7), (4, 0)] {
      _ = scheduler.step(request(UInt64(id), shape: shape), at: at(1))
    }
    let run = try #require(first.runs.first)
    let second = scheduler.step(.runFinished(run.id, took: .milliseconds(1)), at: at(2))
    #expect(second.members == [RequestID(2), RequestID(4)])
    let next = try #require(second.runs.first)
    let third = scheduler.step(.runFinished(next.id, took: .milliseconds(1)), at: at(3))
    #expect(third.members == [RequestID(3)])
  }

  @Test("A full queue refuses and says when to come again, from what requests have taken")
  func queueFull() throws {
    var scheduler = scheduler(profile(batch: 1, limit: 2))
    let first = scheduler.step(request(1), at: at(0))
    let run = try #require(first.runs.first)
    _ = scheduler.step(.runFinished(run.id, took: .milliseconds(100)), at: at(100))
    for id in 2...4 { _ = scheduler.step(request(UInt64(id)), at: at(101)) }
    let plan = scheduler.step(request(5), at: at(102))
    #expect(
      plan.rejections == [
        Rejection(request: RequestID(5), reason: .queueFull(retryAfter: .milliseconds(200)))
      ])
  }

  @Test("A request whose deadline has passed is told so and does not run")
  func deadlinePassed() throws {
    var scheduler = scheduler(profile(batch: 4))
    let first = scheduler.step(request(1), at: at(0))
    let waiting = scheduler.step(request(2, deadline: at(5)), at: at(1))
    #expect(waiting.wakeAt == at(5))
    let late = scheduler.step(.tick, at: at(5))
    #expect(late.rejections == [Rejection(request: RequestID(2), reason: .deadlinePassed)])
    let run = try #require(first.runs.first)
    let plan = scheduler.step(.runFinished(run.id, took: .milliseconds(6)), at: at(6))
    #expect(plan.runs.isEmpty)
  }

  @Test("A batch that waits for company leaves in time for its earliest deadline")
  func leavesForDeadline() throws {
    var scheduler = scheduler(profile(batch: 4, delay: .milliseconds(50)))
    _ = scheduler.step(request(1), at: at(0))
    let first = scheduler.step(.tick, at: at(50))
    let run = try #require(first.runs.first)
    _ = scheduler.step(.runFinished(run.id, took: .milliseconds(10)), at: at(60))
    let waiting = scheduler.step(request(2, deadline: at(90)), at: at(61))
    #expect(waiting.wakeAt == at(80))
    let plan = scheduler.step(.tick, at: at(80))
    #expect(plan.batches.first?.reason == .deadline)
  }

  @Test("A smaller priority number goes first, also to another model; equal ones by arrival")
  func priorities() throws {
    var scheduler = scheduler(profile(batch: 1), profile(batch: 1))
    var plan = scheduler.step(request(1), at: at(0))
    _ = scheduler.step(request(2, priority: 2), at: at(1))
    _ = scheduler.step(request(3, microphone, priority: 1), at: at(2))
    _ = scheduler.step(request(4, priority: 1), at: at(3))
    var order: [RequestID] = []
    for moment in 4...6 {
      let run = try #require(plan.runs.first)
      plan = scheduler.step(
        .runFinished(run.id, took: .milliseconds(1)), at: at(Double(moment)))
      order += plan.members
    }
    #expect(order == [3, 4, 2].map { RequestID($0) })
  }

  @Test("A cancelled request, a removed model and a failed run end their requests, once each")
  func endings() throws {
    var scheduler = scheduler(profile(batch: 4))
    let first = scheduler.step(request(1), at: at(0))
    for id in 2...3 { _ = scheduler.step(request(UInt64(id)), at: at(1)) }
    let cancelled = scheduler.step(.cancelled(RequestID(2)), at: at(2))
    #expect(cancelled.rejections == [Rejection(request: RequestID(2), reason: .cancelled)])
    #expect(scheduler.step(.cancelled(RequestID(2)), at: at(2)).rejections.isEmpty)
    let removed = scheduler.step(.modelRemoved(camera), at: at(3))
    #expect(removed.rejections == [Rejection(request: RequestID(3), reason: .modelRemoved)])
    let run = try #require(first.runs.first)
    let failed = scheduler.step(.runFailed(run.id), at: at(4))
    #expect(failed.rejections == [Rejection(request: RequestID(1), reason: .failed)])
  }

  @Test("After a failed run, requests travel alone, and only the one to blame is lost")
  func oneBadRequest() throws {
    var scheduler = scheduler(profile(batch: 4))
    let busy = try #require(scheduler.step(request(1), at: at(0)).runs.first)
    for id in 2...4 { _ = scheduler.step(request(UInt64(id)), at: at(1)) }
    var plan = scheduler.step(.runFinished(busy.id, took: .milliseconds(1)), at: at(2))
    #expect(plan.members == [2, 3, 4].map { RequestID($0) })
    plan = scheduler.step(.runFailed(try #require(plan.runs.first).id), at: at(3))
    #expect(plan.rejections.isEmpty)
    #expect(plan.returns.count == 1)
    var travelled: [[RequestID]] = []
    for moment in 4...6 {
      travelled.append(plan.members)
      let run = try #require(plan.runs.first)
      let isToBlame = plan.members == [RequestID(3)]
      let event = isToBlame ? Event.runFailed(run.id) : .runFinished(run.id, took: .milliseconds(1))
      plan = scheduler.step(event, at: at(Double(moment)))
      #expect(plan.answers.count == (isToBlame ? 0 : 1))
      #expect(plan.rejections.map(\.request) == (isToBlame ? [RequestID(3)] : []))
    }
    #expect(travelled == [2, 3, 4].map { [RequestID($0)] })
  }

  @Test("Whatever happens, every request ends exactly once", arguments: 0..<200)
  func everyRequestEndsOnce(seed: Int) {
    var random = UInt64(seed) &* 2_862_933_555_777_941_757 &+ 3_037_000_493
    func draw(_ bound: Int) -> Int {
      random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(random >> 33) % bound
    }
    var scheduler = scheduler(
      profile(batch: 4, delay: .milliseconds(draw(3)), limit: 5), profile(batch: 2), runs: 2)
    var (live, ended): (Set<RequestID>, Set<RequestID>) = ([], [])
    var batches: [BatchID: [RequestID]] = [:]
    var runs: [Run] = []
    var next: UInt64 = 0
    func follow(_ plan: Plan) {
      for rejection in plan.rejections {
        #expect(ended.insert(rejection.request).inserted, "seed \(seed)")
      }
      for batch in plan.batches { batches[batch.id] = Array(plan.requests(of: batch)) }
      for id in plan.answers { #expect(ended.insert(id).inserted, "seed \(seed)") }
      runs += plan.runs
      #expect(runs.reduce(0) { $0 + $1.units } <= 2, "seed \(seed)")
    }
    for moment in 0..<300 {
      let now = at(Double(moment))
      switch draw(10) {
      case 0..<5:
        next += 1
        live.insert(RequestID(next))
        let deadline = draw(4) == 0 ? at(Double(moment + draw(20))) : nil
        follow(
          scheduler.step(
            request(
              next, ModelID(Int32(draw(2))), samples: 1 + draw(2), shape: draw(2),
              priority: draw(3), deadline: deadline), at: now))
      case 5..<8 where !runs.isEmpty:
        let run = runs.remove(at: draw(runs.count))
        follow(scheduler.step(.runFinished(run.id, took: .milliseconds(2)), at: now))
      case 8 where !runs.isEmpty:
        let run = runs.remove(at: draw(runs.count))
        let plan = scheduler.step(.runFailed(run.id), at: now)
        follow(plan)
        if plan.returns.contains(run.batch) { continue }
        for id in batches[run.batch] ?? [] { #expect(ended.contains(id), "seed \(seed)") }
      case 9: follow(scheduler.step(.cancelled(RequestID(UInt64(draw(50)))), at: now))
      default: follow(scheduler.step(.tick, at: now))
      }
    }
    for moment in 300..<600 {
      follow(scheduler.step(.tick, at: at(Double(moment))))
      if !runs.isEmpty {
        let run = runs.removeFirst()
        follow(scheduler.step(.runFinished(run.id, took: .zero), at: at(Double(moment))))
      }
    }
    #expect(ended == live, "seed \(seed)")
  }
}
