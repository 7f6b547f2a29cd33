import Models
import Scheduling
import Threads
import Vocabulary

/// The thread that brings weights into memory, one piece after another in the order of the plans.
final class Pager: Sendable {
  private enum Job: Sendable {
    case pageIn(PageIn, ServedModel)
    case stop
  }

  private let jobs = Lock<[Job]>([])
  private let thread = Lock<Thread?>(nil)

  /// Starts the thread.
  ///
  /// - Parameters:
  ///   - report: Tells the scheduler what became of a page-in.
  ///   - damaged: Told once for each page-in that could not be done, with the sentence.
  init(
    report: @escaping @Sendable (Event) -> Void,
    damaged: @escaping @Sendable (ServedModel, ModelError) -> Void
  ) {
    thread.withLock {
      $0 = Thread("pager") { [jobs] in
        while case .pageIn(let pageIn, let model) = jobs.wait({
          $0.isEmpty ? nil : $0.removeFirst()
        }) {
          let begin = Clock.nanoseconds
          do throws(ModelError) {
            try model.packed?.pageIn(layer: pageIn.layer, bytes: pageIn.bytes)
            let took = Duration.nanoseconds(Clock.nanoseconds - begin)
            model.paging.pagedIn(pageIn.layer, pageIn.bytes.count, took: took)
            report(.pagedIn(pageIn.id, took: took))
          } catch {
            damaged(model, error)
            report(.pageInFailed(pageIn.id))
          }
        }
      }
    }
  }

  /// Adds a page-in to the end of the queue.
  func submit(_ pageIn: PageIn, of model: ServedModel) {
    jobs.notify { $0.append(.pageIn(pageIn, model)) }
  }

  /// Ends the thread once it is done with what was submitted.
  func stop() {
    jobs.notify { $0.append(.stop) }
    thread.withLock { $0 }?.join()
  }
}
