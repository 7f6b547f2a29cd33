import Backend
import CLinux
import Models
import Threads

/// A model's kernels, which are made when they are needed and can go again.
final class Preparation: Sendable {
  /// Reads, compiles and lowers a model whose weights are packed.
  typealias Prepare = @Sendable () throws(ModelError) -> any LoadedModel

  private let loaded: Lock<(any LoadedModel)?>
  private let prepare: Prepare?
  /// Whether there is memory for the kernels of batch sizes that nobody has asked for.
  let makesAllKernels: Bool

  /// Kernels that are there, or can be made, or both.
  init(
    _ loaded: (any LoadedModel)?, makesAllKernels: Bool = false, prepare: Prepare? = nil
  ) {
    self.loaded = Lock(loaded)
    self.makesAllKernels = makesAllKernels
    self.prepare = prepare
  }

  /// Whether the kernels can be made anew.
  var isRepeatable: Bool { prepare != nil }

  /// The kernels, made by the first who asks; others wait for it.
  ///
  /// - Throws: `ModelError`, when the model's file is not what it was.
  func kernels() throws(ModelError) -> any LoadedModel {
    try loaded.withLock { (loaded) throws(ModelError) in
      if let loaded { return loaded }
      guard let prepare else { throw ModelError("Its kernels are gone.") }
      let made = try prepare()
      loaded = made
      return made
    }
  }

  /// The kernels, unless they have yet to be made.
  var made: (any LoadedModel)? { loaded.withLock { $0 } }

  /// Lets the kernels go, as soon as no batch has them; nothing when they could not be made anew.
  func letGo() { if isRepeatable { loaded.withLock { $0 = nil } } }
}

/// Makes the kernels of models that are asked for, beside their page-ins, and keeps those of the
/// few that were asked for last.
///
/// Kernels for one sample first, in running order, while the first request may already run on those
/// that are there. Those for other batch sizes follow on a thread that gets what others leave of
/// the processor; a batch that comes earlier makes its own.
final class Preparer: Sendable {
  private enum Job {
    case make(Preparation)
    case letGo(Preparation)
    case stop
  }

  private struct State {
    /// Models with kernels, or with kernels on their way, the last used one at the end.
    var recent: [ServedModel] = []
    var jobs: [Job] = []
    /// Kernels that nobody waits for; nil once no more are made.
    var later: [(preparation: Preparation, samples: Int)]? = []
    var limit = Int.max
  }

  private let state = Lock(State())
  private let threads = Lock<[Thread]>([])

  /// Starts the threads.
  init() {
    threads.withLock {
      $0 = [
        Thread("preparer") { [state] in Self.work(state) },
        Thread("kernels") { [state] in Self.workBehind(state) },
      ]
    }
  }

  private static func work(_ state: Lock<State>) {
    while true {
      switch state.wait({ $0.jobs.isEmpty ? nil : $0.jobs.removeFirst() }) {
      // The run that needs the kernels finds out why there are none.
      case .make(let preparation):
        _ = try? preparation.kernels().makeKernels(samples: 1)
        // What reading, compiling and packing took of the heap would stay with the process.
        stowage_return_freed_memory()
        guard preparation.makesAllKernels else { continue }
        state.notify { $0.later?.append((preparation, 2)) }
      case .letGo(let preparation): preparation.letGo()
      case .stop: return
      }
    }
  }

  private static func workBehind(_ state: Lock<State>) {
    stowage_yield_to_others()
    func next() -> (preparation: Preparation, samples: Int)? {
      state.wait { state in
        guard let later = state.later else { return .some(nil) }
        return later.isEmpty ? nil : .some(state.later?.removeFirst())
      }
    }
    while let (preparation, samples) = next() {
      guard (try? preparation.made?.makeKernels(samples: samples)) == true else { continue }
      state.notify { $0.later?.append((preparation, samples * 2)) }
    }
  }

  /// Sets of how many models kernels are kept.
  func keep(atMost limit: Int) {
    state.notify { state in
      state.limit = max(limit, 1)
      Self.trim(&state)
    }
  }

  /// A model is asked for: its kernels are made unless they are there.
  func use(_ model: ServedModel) {
    guard model.preparation.isRepeatable else { return }
    state.notify { state in
      if let place = state.recent.lastIndex(where: { $0 === model }) {
        guard place + 1 < state.recent.count else { return }
        state.recent.remove(at: place)
      } else {
        state.jobs.append(.make(model.preparation))
      }
      state.recent.append(model)
      Self.trim(&state)
    }
  }

  /// Makes kernels ahead that stay for good.
  func make(_ preparation: Preparation) { state.notify { $0.jobs.append(.make(preparation)) } }

  private static func trim(_ state: inout State) {
    while state.recent.count > state.limit {
      state.jobs.append(.letGo(state.recent.removeFirst().preparation))
    }
  }

  /// Ends the threads.
  func stop() {
    state.notify { state in
      state.jobs = [.stop]
      state.later = nil
    }
    for thread in threads.withLock({ $0 }) { thread.join() }
  }
}
