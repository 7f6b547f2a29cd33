import Foundation
import Scheduling
import Testing
import Vocabulary

private let folder = URL(fileURLWithPath: #filePath)
  .deletingLastPathComponent().appendingPathComponent("Scenarios")

/// A story: what happens to a scheduler, line by line, and below each line what it then does.
///
///     memory 10                   megabytes, before the models; without it all is resident
///     model cat 6/1 6/1 batch 4   by layer megabytes/milliseconds of one sample; two: 1.25 times
///     0: cat asks 1               at a millisecond; `asks 1 with 3` for three samples
///     0: cat asks 2 urgently      at priority -1
///     6: page-in ends             the one that was asked for first
///     7: run ends
///     8: memory is 5
///     9: 1 is cancelled
private struct Story {
  private var scheduler: Scheduler?
  private var options: SchedulerOptions
  private var names: [String] = []
  private var pageIns: [PageIn] = []
  private var runs: [Run] = []
  private var started: [RunID: Double] = [:]

  init() {
    options = SchedulerOptions(
      units: 1, pageBytes: ByteCount(1_000), transferBytes: .mebibytes(64), linkRate: 1e9,
      linkLatency: .zero, minimumRun: .zero)
  }

  /// What the scheduler does after a line.
  mutating func tell(_ line: String) throws -> [String] {
    let words = line.split(separator: " ").map(String.init)
    switch words[0] {
    case "memory":
      options.budget = megabytes(try #require(Double(words[1])))
      return []
    case "model":
      try add(words)
      return []
    default:
      let moment = try #require(Double(words[0].dropLast()))
      let event = try event(Array(words.dropFirst()), at: moment)
      var used = scheduler ?? Scheduler(options)
      let plan = used.step(event, at: Instant(nanoseconds: Int64(moment * 1e6)))
      scheduler = used
      return describe(plan, at: moment)
    }
  }

  private func megabytes(_ count: Double) -> ByteCount { ByteCount(Int(count * 1e6)) }

  private mutating func add(_ words: [String]) throws {
    var layers: [LayerProfile] = []
    for word in words.dropFirst(2) where word.contains("/") {
      let numbers = word.split(separator: "/").compactMap { Double($0) }
      let cost = LayerCost(
        batches: [1, 2], units: [1], seconds: [numbers[1] / 1e3, numbers[1] * 1.25 / 1e3])
      layers.append(
        LayerProfile(
          weights: megabytes(numbers[0]), activations: .zero, scratch: .zero, cost: cost))
    }
    let batch = words.firstIndex(of: "batch").flatMap { Int(words[$0 + 1]) }
    var used = scheduler ?? Scheduler(options)
    _ = used.step(
      .modelAdded(
        ModelID(Int32(names.count)),
        ModelProfile(
          layers: layers, maximumBatch: batch ?? 1, maximumQueueDelay: .zero, queueLimit: 100)),
      at: .zero)
    scheduler = used
    names.append(words[1])
  }

  private mutating func event(_ words: [String], at moment: Double) throws -> Event {
    switch (words[0], words[1]) {
    case ("page-in", _):
      let pageIn = try #require(pageIns.first, "No page-in is under way.")
      pageIns.removeFirst()
      return .pagedIn(pageIn.id, took: .milliseconds(1))
    case ("run", _):
      let run = try #require(runs.first, "Nothing runs.")
      runs.removeFirst()
      let took = moment - (started[run.id] ?? moment)
      return .runFinished(run.id, took: .nanoseconds(Int64(took * 1e6)))
    case ("memory", _): return .budgetChanged(megabytes(try #require(Double(words[2]))))
    case (let id, "is"): return .cancelled(RequestID(try #require(UInt64(id))))
    default:
      let model = try #require(names.firstIndex(of: words[0]))
      let samples = words.firstIndex(of: "with").flatMap { Int(words[$0 + 1]) }
      return .arrived(
        QueuedRequest(
          id: RequestID(try #require(UInt64(words[2]))), model: ModelID(Int32(model)),
          samples: samples ?? 1, priority: words.contains("urgently") ? -1 : 0))
    }
  }

  private mutating func describe(_ plan: Plan, at moment: Double) -> [String] {
    var lines: [String] = []
    func name(_ model: ModelID) -> String { names[model.index] }
    func size(_ bytes: Range<Int>) -> String { "\(Double(bytes.count / 1000) / 1000) MB" }
    for answer in plan.answers { lines.append("\(answer.rawValue) is answered") }
    for rejection in plan.rejections {
      lines.append("\(rejection.request.rawValue) is refused: \(rejection.reason)")
    }
    for batch in plan.returns { lines.append("batch \(batch.rawValue) goes back to the queue") }
    for eviction in plan.evictions {
      lines.append(
        "\(size(eviction.bytes)) of \(name(eviction.model)), layer \(eviction.layer), make way")
    }
    for batch in plan.batches {
      let requests = plan.requests(of: batch).map { "\($0.rawValue)" }.joined(separator: ", ")
      lines.append(
        "\(requests) go into batch \(batch.id.rawValue) of \(name(batch.model)): \(batch.reason)")
    }
    for run in plan.runs {
      runs.append(run)
      started[run.id] = moment
      lines.append(
        "\(name(run.model)) runs layers \(run.layers.lowerBound) to \(run.layers.upperBound - 1) "
          + "on samples \(run.samples.lowerBound) to \(run.samples.upperBound - 1)")
    }
    for pageIn in plan.pageIns {
      pageIns.append(pageIn)
      lines.append("\(size(pageIn.bytes)) of \(name(pageIn.model)), layer \(pageIn.layer), come in")
    }
    return lines
  }
}

@Suite("Stories")
struct ScenarioTests {
  @Test(
    "Every story goes as it is written",
    arguments: try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted())
  func scenario(file: String) throws {
    let text = try String(contentsOf: folder.appendingPathComponent(file), encoding: .utf8)
    var story = Story()
    var told: [String] = []
    for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
      // What the scheduler did is written anew below each line that something happens in.
      if line.hasPrefix("  ") { continue }
      told.append(String(line))
      if line.isEmpty || line.hasPrefix("#") { continue }
      told += try story.tell(String(line)).map { "  " + $0 }
    }
    let retold = told.joined(separator: "\n")
    #expect(retold == text, "It goes like this:\n\(retold)")
  }
}
