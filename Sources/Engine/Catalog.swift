import Threads
import Vocabulary

/// Every model of the store: loading, ready or refused.
final class Catalog: Sendable {
  private struct Entry {
    var description: ModelDescription
    var served: ServedModel?
  }

  private struct State {
    /// The versions of each name, newest last.
    var models: [String: [Entry]] = [:]
    var served: [ServedModel?] = []
    /// Whether all that there is to load has been told.
    var isKnown = false
  }

  private let state = Lock(State())

  /// Tells all models before the first is loaded.
  func expect(_ descriptions: [ModelDescription]) {
    state.notify { state in
      for description in descriptions {
        state.models[description.name, default: []].append(Entry(description: description))
      }
      state.isKnown = true
    }
  }

  /// A number for the next model to be served.
  func nextID() -> ModelID {
    state.withLock { state in
      state.served.append(nil)
      return ModelID(Int32(state.served.count - 1))
    }
  }

  /// Replaces what was known of a version.
  func settle(_ description: ModelDescription, _ served: ServedModel? = nil) {
    state.notify { state in
      guard
        let place = state.models[description.name]?.firstIndex(where: {
          $0.description.version == description.version
        })
      else { return }
      state.models[description.name]?[place] = Entry(description: description, served: served)
      if let served { state.served[served.id.index] = served }
    }
  }

  /// Waits until no model is loading.
  func waitUntilComplete() { state.wait { Self.isComplete($0) ? () : nil } }

  var isComplete: Bool { state.withLock { Self.isComplete($0) } }

  var descriptions: [ModelDescription] {
    state.withLock { state in
      state.models.keys.sorted().flatMap { name in
        state.models[name]?.map(\.description) ?? []
      }
    }
  }

  func description(_ name: String, version: String?) -> ModelDescription? {
    state.withLock { Self.entry($0, name, version)?.description }
  }

  /// The files of packed weights that are in use.
  var packedFiles: [String] {
    state.withLock { $0.served.compactMap { $0?.packed?.file.path } }
  }

  subscript(id: ModelID) -> ServedModel? {
    state.withLock { $0.served.indices.contains(id.index) ? $0.served[id.index] : nil }
  }

  /// A served model, unless another one has taken its place.
  func current(_ id: ModelID) -> ServedModel? {
    state.withLock { state in
      guard state.served.indices.contains(id.index), let model = state.served[id.index] else {
        return nil
      }
      let name = model.description.name
      return state.models[name]?.contains { $0.served === model } == true ? model : nil
    }
  }

  /// A model that can be asked.
  func served(_ name: String, version: String?) throws(InferenceError) -> ServedModel {
    guard let entry = state.withLock({ Self.entry($0, name, version) }) else {
      let wanted = version.map { "version \($0) of model '\(name)'" } ?? "model '\(name)'"
      throw InferenceError(.notFound, "There is no \(wanted) here; GET /v2/models lists all.")
    }
    if let served = entry.served { return served }
    guard case .unavailable(let reason) = entry.description.state else {
      throw InferenceError(.unavailable, "Model '\(name)' is still loading; try again soon.")
    }
    throw InferenceError(.unavailable, "Model '\(name)' could not be loaded: \(reason)")
  }

  private static func isComplete(_ state: State) -> Bool {
    state.isKnown
      && state.models.values.allSatisfy { $0.allSatisfy { $0.description.state != .loading } }
  }

  /// The version asked for, or the newest that is ready, or the newest.
  private static func entry(_ state: State, _ name: String, _ version: String?) -> Entry? {
    guard let versions = state.models[name] else { return nil }
    if let version { return versions.first { $0.description.version == version } }
    return versions.last { $0.served != nil } ?? versions.last
  }
}
