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
    case run(Work)
    case stop
  }

  /// A run of a batch.
  struct Work: Sendable {
    let run: Run
    let batch: ActiveBatch
    /// Samples of one kernel call for each layer of the run; empty when it is the chunk everywhere.
    let layerBatches: [Int]
    /// Which kernel computes each layer of the run; empty for the first one everywhere.
    let kernels: [Int]

    init(_ run: Run, of batch: ActiveBatch) {
      (self.run, self.batch) = (run, batch)
      layerBatches = Array(run.layerBatches)
      kernels = run.kernels.allSatisfy { $0 == 0 } ? [] : Array(run.kernels)
    }

    /// The kernels of some of the run's layers.
    func kernels(of layers: Range<Int>) -> ArraySlice<Int> {
      let first = run.layers.lowerBound
      return kernels.isEmpty ? [] : kernels[layers.lowerBound - first..<layers.upperBound - first]
    }
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
            guard case .run(let work) = job else { return }
            let (event, answers) = Self.carryOut(work)
            // Before the answers: who is answered may ask again at once, and the scheduler should
            // not see that request while the batch still counts as under way.
            report(event)
            for answer in answers { answer.send(work.batch) }
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

  private static func carryOut(_ work: Work) -> (Event, [Answer]) {
    let (run, batch) = (work.run, work.batch)
    let begin = Clock.nanoseconds
    let reads = PagingMetrics.ThreadReads()
    defer { reads.count(batch.model.paging) }
    do throws(ModelError) {
      let workspace = try batch.gather(at: Instant(nanoseconds: begin))
      guard batch.model.packed?.isResident(run.layers, kernels: work.kernels) ?? true else {
        throw ModelError("A run was to begin before its weights were in memory.")
      }
      let model = try batch.kernels()
      for start in stride(from: run.samples.lowerBound, to: run.samples.upperBound, by: run.chunk) {
        let samples = start..<min(start + run.chunk, run.samples.upperBound)
        if work.layerBatches.isEmpty {
          try model.run(
            run.layers, kernels: work.kernels[...], samples: samples, in: workspace,
            units: run.units)
        } else {
          try runByLayer(work, samples, model, workspace)
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
    _ work: Work, _ samples: Range<Int>, _ model: any LoadedModel, _ workspace: any Workspace
  ) throws(ModelError) {
    let (run, layerBatches) = (work.run, work.layerBatches)
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
          layer..<end, kernels: work.kernels(of: layer..<end),
          samples: start..<min(start + most, samples.upperBound), in: workspace,
          units: run.units)
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
