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
  private let families: KernelFamilies
  private let memory: MemoryPool
  /// Memory that weights and activations hand to each other.
  public let frames: PageFrames?

  /// A backend for so many cores.
  ///
  /// - Parameter families: The kernels that may be used where the processor can.
  public init(computeUnits: Int = 1, families: KernelFamilies = .all) {
    self.computeUnits = max(computeUnits, 1)
    self.families = families
    let frames = PageFrames()
    self.frames = frames
    memory = MemoryPool(frames)
  }

  /// The name shown to people.
  public var name: String { "cpu" }

  /// The version of oneDNN, the instructions it uses here, and the families of kernels.
  public var packing: String {
    let version = dnnl_version().pointee
    return "oneDNN \(version.major).\(version.minor).\(version.patch) "
      + "isa \(Processor.instructions) families \(families.rawValue)"
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
      return StagedModel(program, options: options, families: families, memory: memory)
    }
    return try CPUModel(
      program, options: options, families: families, memory: memory, facts: facts)
  }
}
