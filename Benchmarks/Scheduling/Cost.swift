import Glibc
@testable import Scheduling
import Vocabulary

// What deciding costs: `Benchmarks/Scheduling/cost` runs this and writes the report.
//
//   STOWAGE_BENCHMARKS=1 swift build -c release -Xswiftc -enable-testing \
//     --scratch-path .build-benchmarks --product SchedulingBenchmark
//   SchedulingBenchmark plan LAYERS SAMPLES      microseconds: cold, cached, the planner's quick plan
//   SchedulingBenchmark serve LAYERS SAMPLES     microseconds: the longest step of a batch, programs
//                                                made anew and kept
//   SchedulingBenchmark step TENANTS SHARE       microseconds: median, mean, 99th percentile
//   SchedulingBenchmark events TENANTS SHARE N   nothing: for counting allocations
//
// SHARE is the memory as a share of all weights; 0 stands for memory without a limit.

/// A chain whose layers differ, so that segments and layer batches are worth looking for.
private func profile(layers count: Int, seed: Int) -> ModelProfile {
  let layers = (0..<count).map { index in
    let early = 1 - Double(index) / Double(count)
    return LayerProfile(
      weights: ByteCount((1 + (index * 7 + seed * 3) % 13) << 18),
      activations: ByteCount(Int(early * 2e5) + 10_000), scratch: ByteCount(20_000),
      cost: LayerCost(
        batches: [1, 2, 4, 8, 16, 32], units: [1],
        seconds: [1, 2, 4, 8, 16, 32].map { (20 + 10 * $0) * 1e-6 }))
  }
  return ModelProfile(
    layers: layers, input: ByteCount(100_000), maximumBatch: 32, maximumQueueDelay: .zero,
    queueLimit: 100)
}

/// A device that does what plans say in the time that the tables say, with clients that ask again
/// as soon as they are answered: the number of waiting tenants stays the same.
private struct Device {
  var scheduler: Scheduler
  var plan = Plan()
  var now = Instant.zero
  var run: (run: Run, begun: Instant, end: Instant)?
  var pageIns: [(pageIn: PageIn, end: Instant)] = []
  var again: [ModelID] = []
  var owners: [ModelID]
  /// Nanoseconds of steps; empty when nobody asks.
  var took: [Int] = []
  var measures = false
  /// Batches that are through.
  var completions = 0
  private let linkRate = 12e9

  init(tenants: Int, layers: Int, share: Double, clients: Int = 1) {
    let profiles = (0..<tenants).map { profile(layers: layers, seed: $0) }
    let weights = profiles.reduce(0) { $0 + $1.weights.bytes }
    let largest = profiles.map(\.weights.bytes).max() ?? 0
    scheduler = Scheduler(
      SchedulerOptions(
        units: 1,
        budget: share > 0 ? ByteCount(max(Int(share * Double(weights)), 2 * largest)) : nil,
        linkRate: linkRate))
    owners = []
    for (index, profile) in profiles.enumerated() {
      step(.modelAdded(ModelID(Int32(index)), profile))
    }
    for index in profiles.indices {
      for _ in 0..<clients { ask(ModelID(Int32(index))) }
    }
  }

  mutating func ask(_ model: ModelID) {
    let id = RequestID(UInt64(owners.count))
    owners.append(model)
    step(.arrived(QueuedRequest(id: id, model: model, samples: 1)))
  }

  /// Goes on to the next thing that ends, and tells the scheduler of it and of who asks again.
  mutating func advance() {
    if let pageIn = pageIns.first, pageIn.end <= run?.end ?? .distantFuture {
      pageIns.removeFirst()
      now = max(now, pageIn.end)
      step(.pagedIn(pageIn.pageIn.id, took: seconds(pageIn.pageIn.bytes.count)))
    } else if let ended = run {
      run = nil
      now = max(now, ended.end)
      step(.runFinished(ended.run.id, took: ended.end - ended.begun))
    } else {
      now = max(now, plan.wakeAt ?? now)
      step(.tick)
    }
    while let model = again.popLast() { ask(model) }
  }

  /// The nanoseconds of the longest step until the next batch is through.
  mutating func longestStep() -> Int {
    took.removeAll(keepingCapacity: true)
    let before = completions
    while completions == before { advance() }
    return took.max() ?? 0
  }

  /// Forgets how samples go through the first model, as a change of the budget would.
  mutating func forgetPrograms() {
    for samples in scheduler.models[0].programs.indices {
      scheduler.models[0].programs[samples] = nil
    }
  }

  private mutating func step(_ event: Event) {
    let start = measures ? nanoseconds() : 0
    scheduler.step(event, at: now, into: &plan)
    if measures { took.append(nanoseconds() - start) }
    completions += plan.completions.count
    for request in plan.answers { again.append(owners[Int(request.rawValue)]) }
    for pageIn in plan.pageIns {
      let begin = max(pageIns.last?.end ?? now, now)
      pageIns.append((pageIn, begin + seconds(pageIn.bytes.count)))
    }
    for run in plan.runs {
      let layers = Double(run.layers.count)
      let each = 20 + 10 * Double(run.samples.count)
      self.run = (run, now, now + .nanoseconds(Int64(layers * each * 1e3)))
    }
  }

  private func seconds(_ bytes: Int) -> Duration {
    .nanoseconds(Int64(30_000 + Double(bytes) / linkRate * 1e9))
  }
}

private func nanoseconds() -> Int {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return time.tv_sec * 1_000_000_000 + time.tv_nsec
}

private func median(_ values: [Int]) -> Double {
  Double(values.sorted()[values.count / 2]) / 1e3
}

private func measurePlanning(layers: Int, samples: Int) {
  let model = profile(layers: layers, seed: 1)
  var scheduler = Scheduler(
    SchedulerOptions(units: 1, budget: ByteCount(model.weights.bytes / 2), linkRate: 12e9))
  _ = scheduler.step(.modelAdded(ModelID(0), model), at: .zero)
  var (cold, cached, quick): ([Int], [Int], [Int]) = ([], [], [])
  var sum = 0.0
  for _ in 0..<51 {
    scheduler.models[0].programs[samples] = nil
    var start = nanoseconds()
    sum += scheduler.program(0, samples: samples)?.seconds ?? 0
    cold.append(nanoseconds() - start)
    start = nanoseconds()
    sum += scheduler.program(0, samples: samples)?.seconds ?? 0
    cached.append(nanoseconds() - start)
  }
  let instance = Instance(
    layers: model.layers.map { layer in
      Instance.Layer(
        activations: Double(layer.activations.bytes) / 1e6,
        kernels: [
          Instance.Kernel(
            weights: Double(layer.weights.bytes) / 1e6, scratch: 0.02,
            time: .linear(fixed: 0.02, perSample: 0.01))
        ])
    }, input: 0.1, samples: samples, memory: Double(model.weights.bytes) / 2e6, linkRate: 12)
  for _ in 0..<5 {
    let start = nanoseconds()
    sum += (try? Planner.plan(instance, effort: .quick))?.makespan ?? 0
    quick.append(nanoseconds() - start)
  }
  write("\(median(cold)) \(median(cached)) \(median(quick))", sum)
}

/// The path of the server: as many clients as samples, whose requests form one batch after another.
private func measureServing(layers: Int, samples: Int) {
  var device = Device(tenants: 1, layers: layers, share: 0.5, clients: samples)
  device.took.reserveCapacity(10_000)
  device.measures = true
  for _ in 0..<20 { _ = device.longestStep() }
  var (cold, kept): ([Int], [Int]) = ([], [])
  for _ in 0..<51 {
    device.forgetPrograms()
    cold.append(device.longestStep())
    kept.append(device.longestStep())
  }
  write("\(median(cold)) \(median(kept))", median(kept))
}

private func measureSteps(tenants: Int, share: Double) {
  var device = Device(tenants: tenants, layers: 20, share: share)
  for _ in 0..<2_000 { device.advance() }
  device.took.reserveCapacity(100_000)
  device.measures = true
  while device.took.count < 20_000 { device.advance() }
  let sorted = device.took.sorted()
  let mean = Double(sorted.reduce(0, +)) / Double(sorted.count) / 1e3
  let tail = Double(sorted[sorted.count * 99 / 100]) / 1e3
  write("\(median(sorted)) \(mean) \(tail)", mean)
}

/// Prints a line; the sum is looked at so that nothing that was measured can be left out.
private func write(_ line: String, _ sum: Double) {
  puts(sum.isNaN ? "not a number" : line)
}

@main
private enum Cost {
  static func main() {
    let words = CommandLine.arguments.dropFirst()
    let numbers = words.dropFirst().compactMap(Double.init)
    switch (words.first, numbers.count) {
    case ("plan", 2): measurePlanning(layers: Int(numbers[0]), samples: Int(numbers[1]))
    case ("serve", 2): measureServing(layers: Int(numbers[0]), samples: Int(numbers[1]))
    case ("step", 2): measureSteps(tenants: Int(numbers[0]), share: numbers[1])
    case ("events", 3):
      // Several clients for each tenant, so that batches form, differ in size and are joined late.
      var device = Device(tenants: Int(numbers[0]), layers: 20, share: numbers[1], clients: 3)
      device.owners.reserveCapacity(Int(numbers[2]) * 64)
      for _ in 0..<Int(numbers[2]) { device.advance() }
    default: puts("plan | serve LAYERS SAMPLES, step TENANTS SHARE, events TENANTS SHARE COUNT")
    }
  }
}
