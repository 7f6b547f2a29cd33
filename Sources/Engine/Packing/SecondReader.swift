import Models
import Threads

/// A second thread for page-ins: while the disk fills one piece, the kernel clears memory for
/// another, and pages are hashed by two cores.
///
/// 104 MB into fresh memory took 62 ms where one thread took 90, both cores busy besides.
final class SecondReader: Sendable {
  /// Page-ins come one after another, so that all of them share one thread.
  static let shared = SecondReader()

  private struct State {
    var isTaken = false
    /// What the thread is to do; nil once it has begun.
    var work: (@Sendable () -> Void)?
    var isRunning = false
  }

  private let state = Lock(State())

  private init() {
    _ = Thread("pager-2") { [state] in
      while true {
        let work = state.wait { state in
          defer { if state.work != nil { (state.work, state.isRunning) = (nil, true) } }
          return state.work
        }
        work()
        state.notify { $0.isRunning = false }
      }
    }
  }

  /// Has two threads take numbers below `count`, each once, and waits for both; one alone where the
  /// second is busy for somebody else.
  ///
  /// - Throws: `ModelError`, of a number that failed; no more are begun then.
  func share(
    _ count: Int, _ body: @escaping @Sendable (Int) throws(ModelError) -> Void
  ) throws(ModelError) {
    let progress = Lock((next: 0, failure: ModelError?.none))
    let work: @Sendable () -> Void = {
      func next() -> Int? {
        progress.withLock { progress in
          guard progress.next < count, progress.failure == nil else { return nil }
          defer { progress.next += 1 }
          return progress.next
        }
      }
      while let number = next() {
        do throws(ModelError) { try body(number) } catch {
          progress.withLock { $0.failure = error }
        }
      }
    }
    if count > 1 { both(work) } else { work() }
    if let failure = progress.withLock({ $0.failure }) { throw failure }
  }

  private func both(_ work: @escaping @Sendable () -> Void) {
    let isFree = state.notify { state in
      guard !state.isTaken else { return false }
      (state.isTaken, state.work) = (true, work)
      return true
    }
    work()
    guard isFree else { return }
    state.wait { (state) -> Void? in
      // What it has not begun by now is done.
      state.work = nil
      guard !state.isRunning else { return nil }
      state.isTaken = false
      return ()
    }
  }
}
