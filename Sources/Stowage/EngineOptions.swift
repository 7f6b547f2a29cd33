import ArgumentParser
import Backend
import CPUBackend
import Engine
import Glibc
import NullBackend
import ReferenceBackend
import Vocabulary

/// What every command that loads models asks for.
struct EngineOptions: ParsableArguments {
  @Option(help: "The folder of models.")
  var models: String

  @Option(help: "Compute units (cores) to use; by default all that this process may use.")
  var units: Int?

  @Option(help: "The most samples of one batch.")
  var maxBatch = Limits.samplesPerBatch

  @Option(
    help: ArgumentHelp(
      "Where packed weights are kept; by default ~/.cache/stowage.", valueName: "folder"))
  var cache: String?

  @Option(
    help: ArgumentHelp(
      "The most that packed weights may take there, such as 64GiB: those that no start has used "
        + "for the longest are removed; by default half of the file system.", valueName: "size"),
    transform: ModelInstance.bytes)
  var cacheLimit: ByteCount?

  @Option(help: "Where layers run: cpu, reference (slow, for comparison) or null (answers zeros).")
  var backend = BackendName.cpu

  @Option(
    help: ArgumentHelp(
      "What models are computed with: fp32 as their files say, or bf16, which halves weights and "
        + "activations and is faster on processors that have it (AVX-512 BF16, AMX; refused on "
        + "others). What it costs in accuracy is measured at load, logged, and told in the model's "
        + "metadata. NAME=bf16 is for one model; can be given several times.",
      valueName: "[model=]fp32|bf16"))
  var precision: [PrecisionOption] = []

  @Flag(
    help: ArgumentHelp(
      "Compute each layer with one kernel whatever memory allows, so that answers are equal to the "
        + "last bit; else 3x3 convolutions run by minimal filtering or directly, the slower way "
        + "whose weights take a quarter of the memory, and may differ by rounding."))
  var fixedKernels = false

  @Flag(
    help: ArgumentHelp(
      "Multiply FP32 with its 24 significant bits even where the processor has units that multiply "
        + "matrices (AMX): else each number goes in as the sum of two of 8 bits, which takes half "
        + "of the time, and answers differ by some millionths."))
  var noMatrixUnits = false

  /// The names of `--backend`.
  enum BackendName: String, ExpressibleByArgument, CaseIterable {
    case cpu
    case reference
    case null

    /// - Parameter noMatrixUnits: As the flag.
    func make(units: Int, noMatrixUnits: Bool) -> any Backend {
      switch self {
      case .cpu:
        CPUBackend(
          computeUnits: units,
          families: noMatrixUnits ? KernelFamilies.all.subtracting(.matrixUnits) : .all)
      case .reference: ReferenceBackend()
      case .null: NullBackend(computeUnits: units)
      }
    }
  }

  func validate() throws {
    guard maxBatch > 0, units ?? 1 > 0 else {
      throw ValidationError("Numbers of samples and units must be positive.")
    }
  }

  /// The units to use.
  var unitCount: Int { units ?? Processors.available }

  /// What each model of a folder is computed with.
  ///
  /// - Throws: `ValidationError`, when an argument names a model that is not there.
  func precisionChoice(_ folder: ModelFolder) throws -> PrecisionChoice {
    var choice = PrecisionChoice()
    for option in precision {
      guard let model = option.model else {
        choice.standard = option.precision
        continue
      }
      guard folder.entries.contains(where: { $0.name == model }) else {
        throw ValidationError("--precision names '\(model)', which is no model in '\(models)'.")
      }
      choice.byModel[model] = option.precision
    }
    return choice
  }

  /// The folder of packed weights; nil where the backend packs none.
  ///
  /// - Throws: An error that names the folder asked for, or all that were tried.
  func packedFolder() throws -> PackedFolder? {
    guard backend == .cpu else { return nil }
    if let cache { return try PackedFolder(path: cache, limit: cacheLimit) }
    let candidates = Self.defaultCaches
    for path in candidates.dropLast() {
      if let folder = try? PackedFolder(path: path, limit: cacheLimit) { return folder }
    }
    return try candidates.last.map { try PackedFolder(path: $0, limit: cacheLimit) }
  }

  /// Where packed weights are kept unless told, best first.
  private static var defaultCaches: [String] {
    func folder(_ variable: String, _ rest: String) -> String? {
      getenv(variable).map { String(cString: $0) + rest }
    }
    // A systemd unit with CacheDirectory= says where.
    return [
      folder("CACHE_DIRECTORY", ""), folder("XDG_CACHE_HOME", "/stowage"),
      folder("HOME", "/.cache/stowage"), "/tmp/stowage-\(getuid())",
    ].compactMap(\.self)
  }
}
