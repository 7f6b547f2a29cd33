import Backend
import CLinux
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
    for (place, entry) in folder.entries.enumerated() {
      let isPrepared = place < Limits.modelsPreparedAtStart
      if let model = publishSheet(of: entry) {
        if isPrepared { preparer.use(model) }
      } else {
        load(entry, keepsKernels: isPrepared)
      }
    }
    trimPacked()
  }

  /// Packs a model anew whose packed weights were damaged; until then it answers 503.
  private func repair(_ model: ServedModel, _ entry: ModelFolder.Entry) {
    withdraw(model.id)
    model.packed?.file.remove()
    catalog.settle(
      ModelDescription(name: entry.name, version: entry.version, state: .loading))
    registry.remove(label: "model", value: entry.name)
    load(entry, keepsKernels: true)
  }

  private func load(_ entry: ModelFolder.Entry, keepsKernels: Bool) {
    let begin = Clock.nanoseconds
    do throws(ModelError) {
      let graph = try OnnxFile.read(path: entry.path)
      let program = try Compiler.compile(graph, options: compileOptions)
      try publish(
        entry.name, version: entry.version, program, sources: graph.sources, path: entry.path,
        keepsKernels: keepsKernels)
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

  private var compileOptions: CompileOptions {
    CompileOptions(tileBytes: configuration.packed == nil ? nil : Limits.tileBytes)
  }

  private func loadOptions(_ name: String, isBatched: Bool) -> LoadOptions {
    // Of weights that stay in memory anyway nobody wants two forms.
    let offersAlternatives = configuration.packed != nil && configuration.offersAlternatives
    return LoadOptions(
      maximumBatch: isBatched ? configuration.maximumBatch : 1,
      units: Array(1...configuration.units), precision: configuration.precision[name],
      offersAlternatives: offersAlternatives)
  }

  /// Makes a program ready and serves it under a name that the catalog expects.
  ///
  /// - Parameters:
  ///   - sources: The files it was made of; without them its weights are not packed.
  ///   - path: The file to make its kernels of anew; nil keeps them for good.
  ///   - keepsKernels: Whether the kernels stay until others are needed more.
  func publish(
    _ name: String, version: String, _ program: Program, sources: [FileStamp] = [],
    path: String? = nil, keepsKernels: Bool = true
  ) throws(ModelError) {
    let isBatched = if case .independent = program.batching { true } else { false }
    let options = loadOptions(name, isBatched: isBatched)
    let (loaded, packed) = try loadWeights(name, version: version, program, sources, options)
    let loss = try precisionLoss(
      of: name, version: version, program, sources,
      PrecisionCheck.Side(model: loaded, packed: packed), options)
    if packed != nil {
      Self.letConstantsGo(of: program)
      // What packing took of the heap would otherwise stay with the process.
      stowage_return_freed_memory()
    }
    let sheet = ModelSheet(program, layers: loaded.layers)
    let costs = try layerCosts(of: loaded, program, packed, maximumBatch: options.maximumBatch)
    var prepare: Preparation.Prepare?
    // Without costs the next start would have to measure, for which it needs the kernels.
    if let packed, let path, sources.count == 1, costs != nil {
      prepare = preparation(path, sources[0], packed, sheet, options)
      SheetFile.write(sheet, packed.file.path + SheetFile.suffix, key: packed.key)
    }
    let preparation = Preparation(
      keepsKernels || prepare == nil ? loaded : nil, makesAllKernels: hasMemoryForAllKernels,
      prepare: prepare)
    let model = serve(name, version: version, sheet, preparation, packed, costs, options, loss)
    if !preparation.isRepeatable {
      preparer.make(preparation)
    } else if keepsKernels {
      preparer.use(model)
    }
  }

  /// Serves a model whose weights and sheet a start before this one has left: its own file is not
  /// read, and its kernels have yet to be made.
  ///
  /// - Returns: The model; nil when something that it takes was not there.
  private func publishSheet(of entry: ModelFolder.Entry) -> ServedModel? {
    guard let folder = configuration.packed, let stamp = FileStamp(path: entry.path) else {
      return nil
    }
    for isBatched in [true, false] {
      let options = loadOptions(entry.name, isBatched: isBatched)
      let key = PackedFolder.key([stamp], packing: backend.packing, options)
      let path = folder.file(entry.name, version: entry.version, key: key)
      guard let sheet = SheetFile.read(path + SheetFile.suffix, key: key),
        let costs = CostFile.read(
          path + ".costs", key: key, kernels: sheet.layers.map(\.kernelCount)),
        let (file, table) = PackedFile.open(existing: path), table.key == key,
        let packed = try? PackedWeights(reading: file, table, weightSource)
      else { continue }
      file.noteUse()
      let preparation = Preparation(
        nil, makesAllKernels: hasMemoryForAllKernels,
        prepare: preparation(entry.path, stamp, packed, sheet, options))
      let loss = PrecisionFile.read(path + PrecisionFile.suffix, key: key)
      return serve(
        entry.name, version: entry.version, sheet, preparation, packed, costs, options, loss)
    }
    return nil
  }

  /// What makes a model's kernels of its file and its packed weights.
  private func preparation(
    _ path: String, _ stamp: FileStamp, _ packed: PackedWeights, _ sheet: ModelSheet,
    _ options: LoadOptions
  ) -> Preparation.Prepare {
    var options = options
    options.weights = packed
    options.footprints = sheet.layers
    // Somebody waits for them.
    options.makesAllKernels = false
    return { [backend, compileOptions, options] () throws(ModelError) in
      let graph = try OnnxFile.read(path: path)
      guard graph.sources == [stamp] else {
        throw ModelError("Its file '\(path)' has changed since the start; restart the server.")
      }
      let program = try Compiler.compile(graph, options: compileOptions)
      let loaded = try backend.load(program, options: options)
      Self.letConstantsGo(of: program)
      return loaded
    }
  }

  private func serve(
    _ name: String, version: String, _ sheet: ModelSheet, _ preparation: Preparation,
    _ packed: PackedWeights?, _ costs: [[LayerCost]]?, _ options: LoadOptions,
    _ loss: PrecisionLoss?
  ) -> ServedModel {
    let description = sheet.description(
      name: name, version: version, maximumBatch: options.maximumBatch,
      precision: options.precision, loss: loss)
    let model = ServedModel(
      id: catalog.nextID(), description: description, sheet: sheet, preparation: preparation,
      packed: packed, metrics: ModelMetrics(registry, model: name, version: version),
      paging: PagingMetrics(
        registry, model: name, version: version, layers: sheet.layers.count, memory))
    catalog.settle(description, model)
    announce(model, profile(of: sheet, costs, options))
    return model
  }

  /// What the scheduler learns of a model before the first request.
  private func profile(
    of sheet: ModelSheet, _ costs: [[LayerCost]]?, _ options: LoadOptions
  ) -> ModelProfile {
    let layers = sheet.layers.enumerated().map { index, layer in
      LayerProfile(
        weights: layer.weights, activations: layer.activations, scratch: layer.scratch,
        cost: costs?[index][0] ?? .unknown,
        alternatives: layer.alternatives.enumerated().map { place, kernel in
          KernelProfile(
            weights: kernel.weights, scratch: kernel.scratch,
            cost: costs?[index][place + 1] ?? .unknown)
        })
    }
    return ModelProfile(
      layers: layers, input: sheet.inputByteCount, maximumBatch: options.maximumBatch,
      maximumQueueDelay: configuration.maximumQueueDelay, queueLimit: configuration.queueLimit)
  }

  /// Layer costs: those that were kept beside the packed weights, or measured now.
  private func layerCosts(
    of loaded: any LoadedModel, _ program: Program, _ packed: PackedWeights?,
    maximumBatch: Int
  ) throws(ModelError) -> [[LayerCost]]? {
    guard let packed else { return nil }
    let path = packed.file.path + ".costs"
    let known = CostFile.read(path, key: packed.key, kernels: loaded.layers.map(\.kernelCount))
    if let known { return known }
    let calibration = Calibration(
      model: loaded, program: program, packed: packed, maximumBatch: maximumBatch,
      units: configuration.units)
    let measured = try calibration.measure()
    if let measured { CostFile.write(measured, path, key: packed.key) }
    return measured
  }
}
