public import Backend
import COneDNN
public import Compiler
public import Models
import Reference
public import Vocabulary

/// Runs layers on the cores of this machine, with oneDNN's kernels where it has them.
public struct CPUBackend: Backend {
  /// Cores that runs may share out.
  public let computeUnits: Int
  private let usesWinograd: Bool
  private let memory: MemoryPool
  /// Memory that weights and activations hand to each other.
  public let frames: PageFrames?

  /// A backend for so many cores.
  ///
  /// - Parameter usesWinograd: Whether convolutions may use minimal filtering, which is faster and
  ///   takes more memory for weights.
  public init(computeUnits: Int = 1, usesWinograd: Bool = true) {
    self.computeUnits = max(computeUnits, 1)
    self.usesWinograd = usesWinograd
    let frames = PageFrames()
    self.frames = frames
    memory = MemoryPool(frames)
  }

  /// The name shown to people.
  public var name: String { "cpu" }

  /// The version of oneDNN, the instructions it uses here, and whether it filters minimally.
  public var packing: String {
    let version = dnnl_version().pointee
    return "oneDNN \(version.major).\(version.minor).\(version.patch) "
      + "isa \(Processor.instructions) winograd \(usesWinograd)"
  }

  /// Memory for activations and scratch.
  public var workingMemory: WorkingMemory { memory.use }

  /// Sets how much memory for activations and scratch is in use or kept for the next runs.
  public func limitWorkingMemory(to bytes: ByteCount) { memory.limit(to: bytes.bytes) }

  /// Refuses BF16 where the processor has no instructions for it: emulated it is slower than FP32.
  public func refusal(of precision: Precision) -> String? {
    guard precision == .bfloat16, !Processor.hasBFloat16 else { return nil }
    return "This processor has no instructions for bf16 (AVX-512 BF16 or AMX): "
      + "serve the model with --precision fp32."
  }

  /// Packs the weights and makes the kernels for a ladder of batch sizes.
  ///
  /// - Throws: `ModelError`, naming the node that cannot run here.
  public func load(
    _ program: Program, options: LoadOptions
  ) throws(ModelError) -> any LoadedModel {
    if let refusal = refusal(of: options.precision) { throw ModelError(refusal) }
    try Reference.requireKnown(program.graph)
    guard let facts = CPUModel.plannedFacts(program) else {
      return StagedModel(program, options: options, usesWinograd: usesWinograd, memory: memory)
    }
    return try CPUModel(
      program, options: options, usesWinograd: usesWinograd, memory: memory, facts: facts)
  }
}
