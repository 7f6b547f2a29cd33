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
            report(Self.carryOut(run, layerBatches, batch))
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

  private static func carryOut(_ run: Run, _ layerBatches: [Int], _ batch: ActiveBatch) -> Event {
    let begin = Clock.nanoseconds
    do throws(ModelError) {
      let workspace = try batch.gather(at: Instant(nanoseconds: begin))
      let model = batch.model.loaded
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
      return .runFailed(run.id)
    }
    let took = Duration.nanoseconds(Clock.nanoseconds - begin)
    batch.ran(took)
    if run.layers.upperBound == batch.model.program.layers.count { answer(run, batch) }
    return .runFinished(run.id, took: took)
  }

  /// Each layer takes as many samples at once as its own layer batch says.
  private static func runByLayer(
    _ run: Run, _ layerBatches: [Int], _ samples: Range<Int>, _ model: any LoadedModel,
    _ workspace: any Workspace
  ) throws(ModelError) {
    for (layer, most) in zip(run.layers, layerBatches) {
      for start in stride(from: samples.lowerBound, to: samples.upperBound, by: max(most, 1)) {
        try model.run(
          layer..<layer + 1, samples: start..<min(start + max(most, 1), samples.upperBound),
          in: workspace, units: run.units)
      }
    }
  }

  /// Answers the requests all of whose samples went through the last layer in this run.
  private static func answer(_ run: Run, _ batch: ActiveBatch) {
    let now = Instant(nanoseconds: Clock.nanoseconds)
    for member in batch.members
    where member.samples.lowerBound >= run.samples.lowerBound
      && member.samples.upperBound <= run.samples.upperBound
    {
      let request = member.request
      let queue = (batch.started ?? now) - request.arrived
      let result = InferenceResult(
        version: batch.model.description.version, outputs: batch.outputs(of: member),
        queueTime: queue, computeTime: batch.computeTime, batchSamples: batch.samples)
      guard request.answer(.success(result)) else { continue }
      batch.model.metrics.succeeded(
        samples: request.samples, queue: queue, compute: batch.computeTime,
        total: now - request.arrived)
    }
  }
}
