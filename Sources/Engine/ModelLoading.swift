import Backend
import Compiler
import Logging
import Metrics
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
    startRepairing { [weak self] model in
      guard
        let entry = folder.entries.first(where: {
          $0.name == model.description.name && $0.version == model.description.version
        })
      else { return }
      self?.repair(model, entry)
    }
    for entry in folder.entries { load(entry) }
    trimPacked()
  }

  /// Packs a model anew whose packed weights were damaged; until then it answers 503.
  private func repair(_ model: ServedModel, _ entry: ModelFolder.Entry) {
    withdraw(model.id)
    model.packed?.file.remove()
    catalog.settle(
      ModelDescription(name: entry.name, version: entry.version, state: .loading))
    registry.remove(label: "model", value: entry.name)
    load(entry)
  }

  private func load(_ entry: ModelFolder.Entry) {
    let begin = Clock.nanoseconds
    do throws(ModelError) {
      let graph = try OnnxFile.read(path: entry.path)
      let tileBytes = configuration.packed == nil ? nil : Limits.tileBytes
      let program = try Compiler.compile(graph, options: CompileOptions(tileBytes: tileBytes))
      try publish(entry.name, version: entry.version, program, sources: graph.sources)
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
  ///
  /// - Parameter sources: The files it was made of; without them its weights are not packed.
  func publish(
    _ name: String, version: String, _ program: Program, sources: [FileStamp] = []
  ) throws(ModelError) {
    let isBatched = if case .independent = program.batching { true } else { false }
    let maximumBatch = isBatched ? configuration.maximumBatch : 1
    let (loaded, packed) = try loadWeights(
      name, version: version, program, sources,
      LoadOptions(maximumBatch: maximumBatch, units: Array(1...configuration.units)))
    if packed != nil { letConstantsGo(of: program) }
    let description = ModelDescription(
      name: name, version: version, state: .ready,
      inputs: program.graph.inputs.map { TensorDescription(program.graph[$0]) },
      outputs: program.graph.outputs.map { TensorDescription(program.graph[$0]) },
      maximumBatch: maximumBatch)
    let model = ServedModel(
      id: catalog.nextID(), description: description, program: program, loaded: loaded,
      packed: packed, metrics: ModelMetrics(registry, model: name, version: version),
      paging: PagingMetrics(
        registry, model: name, version: version, layers: program.layers.count, memory))
    let profile = try profile(of: model, maximumBatch: maximumBatch)
    catalog.settle(description, model)
    announce(model, profile)
  }

  /// What the scheduler learns of a model before the first request.
  private func profile(
    of model: ServedModel, maximumBatch: Int
  ) throws(ModelError) -> ModelProfile {
    let costs = try layerCosts(of: model, maximumBatch: maximumBatch)
    let layers = model.loaded.layers.enumerated().map { index, layer in
      LayerProfile(
        weights: layer.weights, activations: layer.activations, scratch: layer.scratch,
        cost: costs?[index] ?? .unknown)
    }
    return ModelProfile(
      layers: layers, input: model.program.graph.inputByteCount, maximumBatch: maximumBatch,
      maximumQueueDelay: configuration.maximumQueueDelay, queueLimit: configuration.queueLimit)
  }

  /// Layer costs: those that were kept beside the packed weights, or measured now.
  private func layerCosts(
    of model: ServedModel, maximumBatch: Int
  ) throws(ModelError) -> [LayerCost]? {
    guard let packed = model.packed else { return nil }
    let path = packed.file.path + ".costs"
    let known = CostFile.read(path, key: packed.key, layers: model.loaded.layers.count)
    if let known { return known }
    let calibration = Calibration(
      model: model.loaded, program: model.program, packed: packed, maximumBatch: maximumBatch,
      units: configuration.units)
    let measured = try calibration.measure()
    if let measured { CostFile.write(measured, path, key: packed.key) }
    return measured
  }
}

extension Graph {
  /// Bytes of one sample's inputs, free sizes counted as one.
  fileprivate var inputByteCount: ByteCount {
    inputs.reduce(into: .zero) { total, id in
      let sizes = (self[id].shape ?? []).map { if case .fixed(let size) = $0 { size } else { 1 } }
      total += ByteCount(sizes.reduce(self[id].type?.byteSize ?? 0, *))
    }
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
