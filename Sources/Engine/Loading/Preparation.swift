import Backend
import Models
import Threads

/// A model's kernels, which are made when they are needed and can go again.
final class Preparation: Sendable {
  /// Reads, compiles and lowers a model whose weights are packed.
  typealias Prepare = @Sendable () throws(ModelError) -> any LoadedModel

  private let loaded: Lock<(any LoadedModel)?>
  private let prepare: Prepare?

  /// Kernels that are there, or can be made, or both.
  init(_ loaded: (any LoadedModel)?, prepare: Prepare? = nil) {
    self.loaded = Lock(loaded)
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

  /// Lets the kernels go, as soon as no batch has them; nothing when they could not be made anew.
  func letGo() { if isRepeatable { loaded.withLock { $0 = nil } } }
}

/// Makes the kernels of models that are asked for, beside their page-ins, and keeps those of the
/// few that were asked for last.
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
    var limit = Int.max
  }

  private let state = Lock(State())
  private let thread = Lock<Thread?>(nil)

  /// Starts the thread.
  init() {
    thread.withLock {
      $0 = Thread("preparer") { [state] in
        while true {
          switch state.wait({ $0.jobs.isEmpty ? nil : $0.jobs.removeFirst() }) {
          // The run that needs the kernels finds out why there are none.
          case .make(let preparation): _ = try? preparation.kernels()
          case .letGo(let preparation): preparation.letGo()
          case .stop: return
          }
        }
      }
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

  private static func trim(_ state: inout State) {
    while state.recent.count > state.limit {
      state.jobs.append(.letGo(state.recent.removeFirst().preparation))
    }
  }

  /// Ends the thread.
  func stop() {
    state.notify { $0.jobs = [.stop] }
    thread.withLock { $0 }?.join()
  }
}
