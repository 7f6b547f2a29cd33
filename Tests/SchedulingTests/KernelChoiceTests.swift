import Testing
import Vocabulary

@testable import Scheduling

/// A call: milliseconds of each sample.
private func time(_ milliseconds: Double) -> LayerCost {
  LayerCost(batches: [1], units: [1], seconds: [milliseconds / 1e3])
}

private func bytes(_ megabytes: Double) -> ByteCount { ByteCount(Int(megabytes * 1e6)) }

/// Layers of 10 MB, or of 40 MB and faster: by some milliseconds each.
private func profile(saving: [Double], slow: Double = 10) -> ModelProfile {
  let layers = saving.map { saved in
    LayerProfile(
      weights: bytes(10), activations: bytes(0.1), scratch: .zero, cost: time(slow),
      alternatives: [
        KernelProfile(weights: bytes(40), scratch: bytes(0.5), cost: time(slow - saved))
      ])
  }
  return ModelProfile(
    layers: layers, input: bytes(0.1), maximumBatch: 4, maximumQueueDelay: .zero, queueLimit: 100)
}

/// A link of a megabyte in a millisecond.
private func scheduler(
  memory: Double, _ profiles: [ModelProfile], rate: Double = 1e9
) -> Scheduler {
  var scheduler = Scheduler(
    SchedulerOptions(
      units: 1, budget: bytes(memory), pageBytes: ByteCount(1_000), linkRate: rate,
      linkLatency: .zero))
  for (index, profile) in profiles.enumerated() {
    _ = scheduler.step(.modelAdded(ModelID(Int32(index)), profile), at: .zero)
  }
  return scheduler
}

@Suite("Which kernel computes a layer")
struct KernelChoiceTests {
  private let model = ModelID(0)

  @Test(
    "Memory goes to the layers that gain most by it, as long as all models fit",
    arguments: zip(
      [200.0, 100, 65, 31], [[1, 1, 1], [1, 0, 1], [0, 0, 1], [0, 0, 0]]))
  func knapsack(memory: Double, kernels: [Int]) throws {
    let scheduler = scheduler(memory: memory, [profile(saving: [5, 2, 8])])
    for samples in 1...4 {
      let forecast = try #require(scheduler.forecast(model, samples: samples))
      #expect(forecast.segments.flatMap(\.kernels) == kernels)
    }
  }

  @Test("Another model takes the memory for fast kernels, and gives it back when it goes")
  func together() throws {
    var scheduler = scheduler(memory: 100, [profile(saving: [5, 2]), profile(saving: [1, 1])])
    #expect(scheduler.forecast(model, samples: 1)?.segments.flatMap(\.kernels) == [1, 0])
    _ = scheduler.step(.modelRemoved(ModelID(1)), at: .zero)
    #expect(scheduler.forecast(model, samples: 1)?.segments.flatMap(\.kernels) == [1, 1])
  }

  @Test("Where not all fits a fast kernel is worth its bytes only if computing hides them")
  func crowded() throws {
    let profiles = [profile(saving: [5, 5, 5, 5]), profile(saving: [5, 5, 5, 5])]
    let slow = scheduler(memory: 50, profiles, rate: 1e9)
    #expect(slow.forecast(model, samples: 1)?.segments.flatMap(\.kernels) == [0, 0, 0, 0])
    let fast = scheduler(memory: 50, profiles, rate: 1e11)
    #expect(fast.forecast(model, samples: 1)?.segments.flatMap(\.kernels) == [1, 1, 1, 1])
  }

  @Test("Once batches have grown the same link hides behind their computing, and fast kernels come")
  func growing() throws {
    var scheduler = scheduler(
      memory: 50, [profile(saving: [5, 5, 5, 5]), profile(saving: [5, 5, 5, 5])], rate: 2e9)
    func kernels() throws -> [Int] {
      try #require(scheduler.forecast(model, samples: 4)).segments.flatMap(\.kernels)
    }
    #expect(try kernels() == [0, 0, 0, 0])
    for number in 0..<20 {
      let request = QueuedRequest(
        id: RequestID(UInt64(number)), model: ModelID(Int32(number % 2)), samples: 4)
      carryOut(&scheduler, request)
    }
    #expect(try kernels() == [1, 1, 1, 1])
    for number in 20..<60 {
      let request = QueuedRequest(
        id: RequestID(UInt64(number)), model: ModelID(Int32(number % 2)), samples: 1)
      carryOut(&scheduler, request)
    }
    #expect(try kernels() == [0, 0, 0, 0])
  }

  /// Has a scheduler answer a request, as a device would that is as fast as it expects.
  private func carryOut(_ scheduler: inout Scheduler, _ request: QueuedRequest) {
    var events: [Event] = [.arrived(request)]
    while !events.isEmpty {
      let plan = scheduler.step(events.removeFirst(), at: .zero)
      events += plan.pageIns.map {
        .pagedIn($0.id, took: .nanoseconds(Int64($0.bytes.count / 2)))
      }
      events += plan.runs.map { .runFinished($0.id, took: $0.predicted ?? .zero) }
    }
  }

  @Test("Page-ins and runs name the kernel, and its bytes are what is resident")
  func named() throws {
    var scheduler = scheduler(memory: 65, [profile(saving: [5, 2, 8])])
    let request = QueuedRequest(id: RequestID(1), model: model, samples: 1)
    var events: [Event] = [.arrived(request)]
    var (came, ran) = ([0, 0, 0, 0, 0, 0], [Int?](repeating: nil, count: 3))
    while !events.isEmpty {
      let plan = scheduler.step(events.removeFirst(), at: .zero)
      for pageIn in plan.pageIns { came[2 * pageIn.layer + pageIn.kernel] += pageIn.bytes.count }
      for run in plan.runs { for layer in run.layers { ran[layer] = run.kernels[layer] } }
      events += plan.pageIns.map { .pagedIn($0.id, took: .milliseconds(10)) }
      events += plan.runs.map { .runFinished($0.id, took: .milliseconds(10)) }
    }
    #expect(came == [10_000_000, 0, 10_000_000, 0, 0, 40_000_000])
    #expect(ran == [0, 0, 1])
    #expect(scheduler.residentWeights == bytes(60))
  }

  @Test("What is chosen for a round is near the best of all choices", arguments: 0..<10)
  func nearBest(block: Int) throws {
    var (total, worst) = (0.0, 0.0)
    for seed in block * 30..<block * 30 + 30 {
      var random = SeededRandom(seed: UInt64(seed))
      func unit() -> Double { .random(in: 0...1, using: &random) }
      let layers = (0..<4).map { _ in
        let (weights, milliseconds) = (1 + 20 * unit(), 1 + 10 * unit())
        return LayerProfile(
          weights: bytes(weights), activations: bytes(2 * unit()), scratch: .zero,
          cost: time(milliseconds),
          alternatives: [
            KernelProfile(
              weights: bytes(weights * (1.5 + 2.5 * unit())), scratch: .zero,
              cost: time(milliseconds * (0.3 + 0.6 * unit())))
          ])
      }
      let weights = layers.reduce(0) { $0 + $1.weights.bytes }
      let memory = Double(weights) / 1e6 * (0.3 + 0.6 * unit())
      let profile = ModelProfile(
        layers: layers, maximumBatch: 1, maximumQueueDelay: .zero, queueLimit: 1)
      let scheduler = scheduler(memory: memory, [profile], rate: 1e9 * (0.5 + 4 * unit()))
      let chosen = scheduler.secondsOfRound([scheduler.models[0].settled])
      let best = (0..<16).map { choice in
        scheduler.secondsOfRound([(0..<4).map { 2 * $0 + choice >> $0 & 1 }])
      }.min()
      let gap = chosen / (try #require(best)) - 1
      (total, worst) = (total + gap, max(worst, gap))
      #expect(gap < 0.3, "seed \(seed): \(gap)")
    }
    #expect(total / 30 < 0.03, "seeds from \(block * 30): mean \(total / 30), worst \(worst)")
  }
}
