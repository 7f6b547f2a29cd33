import Backend
import Compiler
import Logging
import Models
import Scheduling
import Threads
import Vocabulary

extension Engine {
  /// Loads models one after another; returns when all are ready or refused.
  ///
  /// A model that cannot be served is refused with its sentence and keeps no other from its place.
  public func load(_ folder: ModelFolder) {
    catalog.expect(
      folder.entries.map {
        ModelDescription(name: $0.name, version: $0.version, state: .loading)
      })
    for entry in folder.entries { load(entry) }
  }

  private func load(_ entry: ModelFolder.Entry) {
    let begin = Clock.nanoseconds
    do throws(ModelError) {
      let program = try Compiler.compile(OnnxFile.read(path: entry.path))
      try publish(entry.name, version: entry.version, program)
      let seconds = Double((Clock.nanoseconds - begin) / 1_000_000) / 1000
      logger.info("Model '\(entry.name)' version \(entry.version) is ready after \(seconds) s.")
      if case .whole(let reason) = program.batching {
        logger.info("Model '\(entry.name)' is not batched: \(reason)")
      }
    } catch {
      logger.error("Model '\(entry.name)' version \(entry.version) is refused: \(error)")
      catalog.settle(
        ModelDescription(
          name: entry.name, version: entry.version, state: .unavailable(error.description)))
    }
  }

  /// Makes a program ready and serves it under a name that the catalog expects.
  func publish(_ name: String, version: String, _ program: Program) throws(ModelError) {
    let isBatched = if case .independent = program.batching { true } else { false }
    let maximumBatch = isBatched ? configuration.maximumBatch : 1
    let loaded = try backend.load(
      program,
      options: LoadOptions(maximumBatch: maximumBatch, units: Array(1...configuration.units)))
    let description = ModelDescription(
      name: name, version: version, state: .ready,
      inputs: program.graph.inputs.map { TensorDescription(program.graph[$0]) },
      outputs: program.graph.outputs.map { TensorDescription(program.graph[$0]) },
      maximumBatch: maximumBatch)
    let model = ServedModel(
      id: catalog.nextID(), description: description, program: program, loaded: loaded,
      metrics: ModelMetrics(registry, model: name, version: version))
    catalog.settle(description, model)
    let layers = loaded.layers.map {
      LayerProfile(weights: $0.weights, activations: $0.activations, scratch: $0.scratch)
    }
    announce(
      model,
      ModelProfile(
        layers: layers, maximumBatch: maximumBatch,
        maximumQueueDelay: configuration.maximumQueueDelay, queueLimit: configuration.queueLimit))
  }
}

extension TensorDescription {
  /// An input or output as the graph knows it; -1 where a request decides.
  init(_ value: Value) {
    let shape = (value.shape ?? []).map { dimension in
      if case .fixed(let size) = dimension { size } else { -1 }
    }
    self.init(name: value.name, type: value.type ?? .float32, shape: shape)
  }
}
