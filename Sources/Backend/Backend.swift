public import Compiler
public import Models
public import Vocabulary

/// A place where layers run: the CPU, a GPU, or nothing at all.
public protocol Backend: Sendable {
  /// The name shown to people.
  var name: String { get }

  /// Compute units that runs may share out.
  var computeUnits: Int { get }

  /// What the bytes of packed weights depend on besides program and load options: the kernels'
  /// library, its version, the processor's instructions.
  var packing: String { get }

  /// Memory for activations and scratch.
  var workingMemory: WorkingMemory { get }

  /// Sets how much memory for activations and scratch is in use or kept for the next runs: what is
  /// kept beyond that goes to the frames.
  func limitWorkingMemory(to bytes: ByteCount)

  /// Memory that weights and activations hand to each other; nil for a backend without.
  var frames: PageFrames? { get }

  /// Why networks cannot be computed in a precision here, as a sentence; nil when they can.
  func refusal(of precision: Precision) -> String?

  /// Makes a program ready: packs its weights, plans its memory, prepares its kernels.
  ///
  /// - Throws: `ModelError`, naming the node that cannot run here.
  func load(_ program: Program, options: LoadOptions) throws(ModelError) -> any LoadedModel
}

extension Backend {
  /// The name, for backends that pack nothing.
  public var packing: String { name }

  /// Nothing, for backends that do not keep account.
  public var workingMemory: WorkingMemory { WorkingMemory() }

  /// Refuses everything but FP32, for backends that know nothing else.
  public func refusal(of precision: Precision) -> String? {
    precision == .float32 ? nil : "The backend '\(name)' computes in fp32 only."
  }

  /// Does nothing, for backends that keep nothing.
  public func limitWorkingMemory(to bytes: ByteCount) {}

  /// None, for backends whose memory is not the process'.
  public var frames: PageFrames? { nil }
}

/// Memory of a backend for activations and scratch.
public struct WorkingMemory: Equatable, Sendable {
  /// What runs use now.
  public var used: ByteCount
  /// What is kept for the next runs.
  public var idle: ByteCount
  /// The most that was ever in use at once.
  public var peak: ByteCount

  /// Memory of a backend; none unless told.
  public init(used: ByteCount = .zero, idle: ByteCount = .zero, peak: ByteCount = .zero) {
    (self.used, self.idle, self.peak) = (used, idle, peak)
  }
}

/// What a model is made ready for.
public struct LoadOptions: Sendable {
  /// The most samples of one batch; 1 for a model that is not batched.
  public var maximumBatch: Int
  /// Numbers of units for which kernels are made at load.
  public var units: [Int]
  /// What convolutions and products compute with.
  public var precision: Precision
  /// Where its weights are kept.
  public var weights: any WeightStore
  /// Whether kernels are made for all common batch sizes at once, or when they are asked for.
  ///
  /// All are needed to pack weights in every form that one of them reads.
  public var makesAllKernels: Bool
  /// Whether layers that several kernels compute get them all, for a scheduler to choose among:
  /// their results differ in the last bits.
  public var offersAlternatives: Bool
  /// What its layers took when it was loaded before with the same weights, if that is known.
  public var footprints: [LayerFootprint]?

  /// What a model is made ready for; its weights stay in memory unless told.
  public init(
    maximumBatch: Int, units: [Int], precision: Precision = .float32,
    weights: any WeightStore = MemoryWeights(), makesAllKernels: Bool = true,
    offersAlternatives: Bool = false, footprints: [LayerFootprint]? = nil
  ) {
    self.precision = precision
    self.footprints = footprints
    self.offersAlternatives = offersAlternatives
    self.maximumBatch = maximumBatch
    self.units = units
    self.weights = weights
    self.makesAllKernels = makesAllKernels
  }
}

/// A program on a backend.
///
/// Safe to use from several threads, each with its own workspace.
public protocol LoadedModel: AnyObject, Sendable {
  /// What each layer takes of memory, in running order.
  var layers: [LayerFootprint] { get }

  /// Makes memory for one batch.
  ///
  /// - Parameters:
  ///   - samples: The number of samples; at most the maximum batch of the load options.
  ///   - inputShapes: The shapes of the graph's inputs, batch included.
  /// - Throws: `ModelError`, when the shapes do not fit the program.
  func makeWorkspace(samples: Int, inputShapes: [[Int]]) throws(ModelError) -> any Workspace

  /// Makes the kernels for so many samples before a run needs them, in running order.
  ///
  /// A run that comes meanwhile makes those that it needs itself.
  ///
  /// - Returns: Whether there are such kernels.
  /// - Throws: `ModelError`, when they cannot be made; the run that needs them would find out too.
  func makeKernels(samples: Int) throws(ModelError) -> Bool

  /// Runs consecutive layers on some samples of a batch and returns when they are done.
  ///
  /// The samples go through the layers together; for a layer with a smaller layer batch the caller
  /// calls once for each part. Layers before `layers` must have run on these samples.
  ///
  /// - Parameter kernels: Which of its kernels computes each of the layers, as their footprints
  ///   number them; empty for the first one everywhere.
  /// - Throws: `ModelError`, when the values of the inputs make the network impossible to run.
  func run(
    _ layers: Range<Int>, kernels: ArraySlice<Int>, samples: Range<Int>,
    in workspace: any Workspace, units: Int
  ) throws(ModelError)
}

extension LoadedModel {
  /// None, for models that are ready once they are loaded.
  public func makeKernels(samples: Int) throws(ModelError) -> Bool { false }

  /// Runs layers with the first kernel of each.
  public func run(
    _ layers: Range<Int>, samples: Range<Int>, in workspace: any Workspace, units: Int
  ) throws(ModelError) {
    try run(layers, kernels: [], samples: samples, in: workspace, units: units)
  }
}

/// The memory of one batch on its way through a model: inputs, activations, scratch, outputs.
public protocol Workspace: AnyObject {
  /// The samples it was made for.
  var samples: Int { get }

  /// The bytes it holds.
  var byteCount: ByteCount { get }

  /// Makes room for more samples behind those it holds, which keep what they have.
  func grow(to samples: Int)

  /// Copies the elements of an input for some samples: dense, row-major.
  func setInput(_ index: Int, samples: Range<Int>, from elements: UnsafeRawBufferPointer)

  /// Sets a whole input, strings included.
  func setInput(_ index: Int, to tensor: Tensor)

  /// Sets an input for some samples, strings included.
  func setInput(_ index: Int, samples: Range<Int>, to tensor: Tensor)

  /// The shape of an output once its layer has run; the batch is its first dimension when samples
  /// are independent.
  func outputShape(_ index: Int) -> [Int]

  /// Copies an output for some samples.
  func output(_ index: Int, samples: Range<Int>) -> Tensor

  /// Tells that every sample is past the layers before this one: what only those read can go.
  func releaseValues(before layer: Int)

  /// Tells that some samples are past the layers before this one.
  func releaseValues(before layer: Int, samples: Range<Int>)
}

extension Workspace {
  /// Copies the elements of a tensor, for workspaces that hold no strings.
  public func setInput(_ index: Int, samples: Range<Int>, to tensor: Tensor) {
    withExtendedLifetime(tensor) {
      setInput(
        index, samples: samples,
        from: UnsafeRawBufferPointer(start: tensor.storage.base, count: tensor.byteCount))
    }
  }

  /// Keeps everything until the end.
  public func releaseValues(before layer: Int) {}

  /// Keeps everything until all samples are past.
  public func releaseValues(before layer: Int, samples: Range<Int>) {}
}

/// What one layer takes of memory.
public struct LayerFootprint: Equatable, Sendable {
  /// The name of the layer.
  public var name: String
  /// Bytes of weights in the form that the kernels read.
  public var weights: ByteCount
  /// Bytes per sample that live across the border after the layer.
  public var activations: ByteCount
  /// Bytes of scratch for a layer batch of one sample.
  public var scratch: ByteCount
  /// What other kernels that compute the layer take; kernel 0 is what the layer itself tells.
  public var alternatives: [KernelFootprint]

  /// What one layer takes of memory.
  public init(
    name: String, weights: ByteCount, activations: ByteCount, scratch: ByteCount,
    alternatives: [KernelFootprint] = []
  ) {
    self.name = name
    self.weights = weights
    self.activations = activations
    self.scratch = scratch
    self.alternatives = alternatives
  }

  /// How many kernels compute the layer.
  public var kernelCount: Int { 1 + alternatives.count }
}

/// What another kernel of a layer takes of memory.
public struct KernelFootprint: Equatable, Sendable {
  /// Bytes of weights in the form that this kernel reads.
  public var weights: ByteCount
  /// Bytes of scratch for a layer batch of one sample.
  public var scratch: ByteCount

  /// What another kernel of a layer takes of memory.
  public init(weights: ByteCount, scratch: ByteCount) {
    self.weights = weights
    self.scratch = scratch
  }
}

extension LayerFootprint {
  /// The layers of a program that is interpreted: constants as they are, nothing planned besides.
  public static func interpreted(_ program: Program) -> [LayerFootprint] {
    program.layers.map { layer in
      let weights = layer.weights.reduce(0) { $0 + (program.graph[$1].constant?.byteCount ?? 0) }
      return LayerFootprint(
        name: layer.name, weights: ByteCount(weights), activations: .zero, scratch: .zero)
    }
  }
}
