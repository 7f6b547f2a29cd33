import Backend
import Compiler
import Models
import Scheduling
import Threads
import Vocabulary

/// Threads that carry out runs, and answer the requests whose samples are through.
final class ExecutorPool: Sendable {
  /// What an executor is asked to do.
  enum Job: Sendable {
    case run(Run, layerBatches: [Int], ActiveBatch)
    case stop
  }

  private let jobs = Lock<[Job]>([])
  private let threads = Lock<[Thread]>([])

  /// Starts the threads; `report` tells the scheduler what became of a run.
  init(count: Int, report: @escaping @Sendable (Event) -> Void) {
    threads.withLock { threads in
      threads = (0..<count).map { number in
        Thread("executor-\(number)") { [jobs] in
          while true {
            let job = jobs.wait { $0.isEmpty ? nil : $0.removeFirst() }
            guard case .run(let run, let layerBatches, let batch) = job else { return }
            let (event, answers) = Self.carryOut(run, layerBatches, batch)
            // Before the answers: who is answered may ask again at once, and the scheduler should
            // not see that request while the batch still counts as under way.
            report(event)
            for answer in answers { answer.send(batch) }
          }
        }
      }
    }
  }

  func submit(_ job: Job) { jobs.notify { $0.append(job) } }

  /// Ends the threads once they are done with what was submitted.
  func stop() {
    let ended = threads.withLock { $0 }
    for _ in ended { submit(.stop) }
    for thread in ended { thread.join() }
  }

  /// A request that is through, with what it gets.
  private struct Answer {
    var request: PendingRequest
    var result: InferenceResult
    var total: Duration

    func send(_ batch: ActiveBatch) {
      guard request.answer(.success(result)) else { return }
      batch.model.metrics.succeeded(
        samples: request.samples, queue: result.queueTime, compute: result.computeTime,
        total: total)
    }
  }

  private static func carryOut(
    _ run: Run, _ layerBatches: [Int], _ batch: ActiveBatch
  ) -> (Event, [Answer]) {
    let begin = Clock.nanoseconds
    let reads = PagingMetrics.ThreadReads()
    defer { reads.count(batch.model.paging) }
    do throws(ModelError) {
      let workspace = try batch.gather(at: Instant(nanoseconds: begin))
      guard batch.model.packed?.isResident(run.layers) ?? true else {
        throw ModelError("A run was to begin before its weights were in memory.")
      }
      let model = try batch.kernels()
      for start in stride(from: run.samples.lowerBound, to: run.samples.upperBound, by: run.chunk) {
        let samples = start..<min(start + run.chunk, run.samples.upperBound)
        if layerBatches.isEmpty {
          try model.run(run.layers, samples: samples, in: workspace, units: run.units)
        } else {
          try runByLayer(run, layerBatches, samples, model, workspace)
        }
      }
    } catch {
      batch.failure = error.description
      return (.runFailed(run.id), [])
    }
    let took = Duration.nanoseconds(Clock.nanoseconds - begin)
    batch.ran(run, took: took)
    let isLast = run.layers.upperBound == batch.model.sheet.layers.count
    return (.runFinished(run.id, took: took), isLast ? answers(run, batch) : [])
  }

  /// Each layer takes as many samples at once as its own layer batch says.
  ///
  /// Neighbours that take all of them run as one: what passes between them then stays in the arena,
  /// and residuals are added in place.
  private static func runByLayer(
    _ run: Run, _ layerBatches: [Int], _ samples: Range<Int>, _ model: any LoadedModel,
    _ workspace: any Workspace
  ) throws(ModelError) {
    var layer = run.layers.lowerBound
    while layer < run.layers.upperBound {
      let most = max(layerBatches[layer - run.layers.lowerBound], 1)
      var end = layer + 1
      while most >= samples.count, end < run.layers.upperBound,
        layerBatches[end - run.layers.lowerBound] >= samples.count
      {
        end += 1
      }
      for start in stride(from: samples.lowerBound, to: samples.upperBound, by: most) {
        try model.run(
          layer..<end, samples: start..<min(start + most, samples.upperBound),
          in: workspace, units: run.units)
      }
      layer = end
    }
  }

  /// What the requests get whose last sample went through the last layer in this run; the others
  /// of its samples may have done so in earlier ones.
  private static func answers(_ run: Run, _ batch: ActiveBatch) -> [Answer] {
    let now = Instant(nanoseconds: Clock.nanoseconds)
    let through = batch.members.filter {
      $0.samples.overlaps(run.samples) && batch.isThrough($0)
    }
    return through.map { member in
      let arrived = member.request.arrived
      let result = InferenceResult(
        version: batch.model.description.version, outputs: batch.outputs(of: member),
        queueTime: max((batch.started ?? now) - arrived, .zero), computeTime: batch.computeTime,
        batchSamples: batch.samples)
      return Answer(request: member.request, result: result, total: now - arrived)
    }
  }
}
