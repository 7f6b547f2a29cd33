import Backend
import Compiler
import Glibc
import Logging
import Models
import Vocabulary

extension Engine {
  /// Loads a program with its weights in a packed file where there is a folder for such.
  ///
  /// - Returns: The model, and its packed weights; nil where the backend keeps them itself.
  func loadWeights(
    _ name: String, version: String, _ program: Program, _ sources: [FileStamp],
    _ options: LoadOptions
  ) throws(ModelError) -> (any LoadedModel, PackedWeights?) {
    guard let folder = configuration.packed, !sources.isEmpty else {
      return (try backend.load(program, options: options), nil)
    }
    let key = PackedFolder.key(sources, packing: backend.packing, options)
    let path = folder.file(name, version: version, key: key)
    return try folder.withLock(path) { () throws(ModelError) in
      if let found = try openPacked(path, key, program, options) { return found }
      return try pack(path, key, program, options)
    }
  }

  /// Keeps the folder of packed weights within its limit.
  func trimPacked() {
    let used = Set(catalog.packedFiles)
    for path in configuration.packed?.trim(keeping: used) ?? [] {
      logger.info("The packed weights '\(path)' were removed: no start has used them for long.")
    }
  }

  /// Whether kernels are made for batch sizes that nobody has asked for.
  var hasMemoryForAllKernels: Bool {
    configuration.memory.map { $0.bytes >= Limits.budgetForAllKernels } ?? true
  }

  /// With a memory budget weights come when they are told to, without one when they are touched.
  var weightSource: WeightMemory.Source {
    configuration.memory == nil ? .mapping : .read(memory.frames)
  }

  private func openPacked(
    _ path: String, _ key: String, _ program: Program, _ options: LoadOptions
  ) throws(ModelError) -> (any LoadedModel, PackedWeights?)? {
    guard let (file, table) = PackedFile.open(existing: path), table.key == key else { return nil }
    let weights = try PackedWeights(reading: file, table, weightSource)
    var options = options
    options.weights = weights
    options.makesAllKernels = false
    options.footprints = SheetFile.read(path + SheetFile.suffix, key: key)?.layers
    let loaded = try backend.load(program, options: options)
    guard weights.isIncomplete else {
      file.noteUse()
      return (loaded, weights)
    }
    logger.info("The packed weights '\(path)' lack constants and are packed anew.")
    return nil
  }

  private func pack(
    _ path: String, _ key: String, _ program: Program, _ options: LoadOptions
  ) throws(ModelError) -> (any LoadedModel, PackedWeights?) {
    // Address space only: no form of a weight is larger than some times the weight.
    let constants = program.graph.values.reduce(0) { $0 + ($1.constant?.byteCount ?? 0) }
    let file = try PackedFile.create(path)
    let weights = try PackedWeights(
      writing: file, key: key,
      limit: constants * 16 + program.layers.count * PackedTable.pageBytes + (1 << 30),
      weightSource)
    var options = options
    options.weights = weights
    do throws(ModelError) {
      let loaded = try backend.load(program, options: options)
      guard !weights.isEmpty else {
        file.discard()
        return (loaded, nil)
      }
      try weights.seal()
      return (loaded, weights)
    } catch {
      file.discard()
      throw error
    }
  }

  /// Lets the constants of a program leave memory, now that its packed weights stand for them.
  ///
  /// They are asked for again only when a request brings shapes for which no kernel was made.
  static func letConstantsGo(of program: Program) {
    for value in program.graph.values { value.constant?.storage.letGo() }
  }
}
