import Models
import Scheduling
import Threads
import Vocabulary

/// The thread that brings weights into memory, one piece after another in the order of the plans.
///
/// Small pieces of a model that wait behind each other come in together: most of them lie side by
/// side in its file, and one read of many is several times as fast as many reads.
final class Pager: Sendable {
  private enum Job: Sendable {
    case pageIns([PageIn], ServedModel)
    case stop
  }

  private let jobs = Lock<[Job]>([])
  private let thread = Lock<Thread?>(nil)

  /// Starts the thread.
  ///
  /// - Parameters:
  ///   - report: Tells the scheduler what became of a page-in.
  ///   - damaged: Told once for page-ins that could not be done, with the sentence.
  init(
    report: @escaping @Sendable (Event) -> Void,
    damaged: @escaping @Sendable (ServedModel, ModelError) -> Void
  ) {
    thread.withLock {
      $0 = Thread("pager") { [jobs] in
        while case .pageIns(let pageIns, let model) = jobs.wait(Self.next) {
          Self.carryOut(pageIns, model, report, damaged)
        }
      }
    }
  }

  /// What is carried out next; nil when nothing waits.
  private static func next(_ jobs: inout [Job]) -> Job? {
    guard !jobs.isEmpty else { return nil }
    guard case .pageIns(var gathered, let model) = jobs.removeFirst() else { return .stop }
    while case .pageIns(let more, let owner)? = jobs.first, owner === model,
      byteCount(gathered) + byteCount(more) <= Limits.gatheredPageInBytes
    {
      gathered += more
      jobs.removeFirst()
    }
    return .pageIns(gathered, model)
  }

  private static func byteCount(_ pageIns: [PageIn]) -> Int {
    pageIns.reduce(0) { $0 + $1.bytes.count }
  }

  private static func carryOut(
    _ pageIns: [PageIn], _ model: ServedModel, _ report: (Event) -> Void,
    _ damaged: (ServedModel, ModelError) -> Void
  ) {
    let begin = Clock.nanoseconds
    do throws(ModelError) {
      try model.packed?.pageIn(
        pageIns.map { .init(layer: $0.layer, kernel: $0.kernel, bytes: $0.bytes) })
    } catch {
      damaged(model, error)
      for pageIn in pageIns { report(.pageInFailed(pageIn.id)) }
      return
    }
    let perByte = Double(Clock.nanoseconds - begin) / Double(max(byteCount(pageIns), 1))
    for pageIn in pageIns {
      let took = Duration.nanoseconds(Int64(perByte * Double(pageIn.bytes.count)))
      model.paging.pagedIn(pageIn.layer, pageIn.bytes.count, took: took)
      report(.pagedIn(pageIn.id, took: took))
    }
  }

  /// Adds a page-in to the end of the queue.
  func submit(_ pageIn: PageIn, of model: ServedModel) {
    jobs.notify { $0.append(.pageIns([pageIn], model)) }
  }

  /// Ends the thread once it is done with what was submitted.
  func stop() {
    jobs.notify { $0.append(.stop) }
    thread.withLock { $0 }?.join()
  }
}
