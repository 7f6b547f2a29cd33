import Backend
import Compiler
import Models
import Reference
import Threads
import Vocabulary

/// A program some of whose shapes depend on the elements of tensors, run stage by stage.
///
/// A stage is a run of layers whose shapes follow from the shapes of what it begins with: it gets
/// kernels and an arena like a program of its own. Layers between stages, such as NonZero, are
/// computed by their plain meaning, and what they make tells the shapes of the next stage.
final class StagedModel: LoadedModel, @unchecked Sendable {
  // Unchecked: what changes after loading is under a lock.

  /// What tells the stages that begin at a layer apart.
  private struct Key: Hashable {
    var layer: Int
    var shapes: [[Int]]
  }

  let program: Program
  private(set) var layers: [LayerFootprint]
  private let families: KernelFamilies
  private let memory: MemoryPool
  private let options: LoadOptions
  private let lifetimes: ValueLifetimes
  private let stages = Lock<[Key: Stage]>([:])
  private let entries = Lock<[Int: [ValueID]]>([:])
  private let models = Lock<[Range<Int>: CPUModel]>([:])

  /// Makes a program ready, and runs it once on zeros to pack the weights on the way.
  init(
    _ program: Program, options: LoadOptions, families: KernelFamilies, memory: MemoryPool
  ) {
    self.program = program
    self.options = options
    self.families = families
    self.memory = memory
    lifetimes = ValueLifetimes(program)
    layers = LayerFootprint.interpreted(program)
    rehearse()
  }

  // MARK: LoadedModel

  func makeWorkspace(
    samples: Int, inputShapes: [[Int]]
  ) throws(ModelError) -> any Workspace {
    StagedWorkspace(
      TensorWorkspace(program, lifetimes, samples: samples, inputShapes: inputShapes))
  }

  func run(
    _ layers: Range<Int>, kernels: ArraySlice<Int>, samples: Range<Int>,
    in workspace: any Workspace, units: Int
  ) throws(ModelError) {
    guard let workspace = workspace as? StagedWorkspace else {
      throw ModelError("The workspace was made by another backend.")
    }
    for sample in samples {
      var layer = layers.lowerBound
      while layer < layers.upperBound {
        let stage: RunningStage
        if let running = workspace.stages[sample] {
          stage = running
        } else {
          stage = try begin(at: layer, workspace.tensors, sample)
        }
        let end = min(stage.layers.upperBound, layers.upperBound)
        try stage.run(layer..<end, workspace.tensors, sample, units: units)
        workspace.stages[sample] = end < stage.layers.upperBound ? stage : nil
        layer = end
      }
    }
  }

  // MARK: Stages

  /// The stage that begins with a layer, for the shapes that a sample's values have.
  private func begin(
    at layer: Int, _ tensors: TensorWorkspace, _ sample: Int
  ) throws(ModelError) -> RunningStage {
    let inputs = needs(at: layer)
    var given: [Tensor] = []
    for id in inputs {
      guard let tensor = tensors[id, sample] else {
        throw ModelError("Value '\(program.graph[id].name)' is read before it is made.")
      }
      given.append(tensor)
    }
    let key = Key(layer: layer, shapes: given.map(\.shape))
    if let known = stages.withLock({ $0[key] }) { return RunningStage(known, tensors, sample) }
    var rest = program.graph
    rest.nodes.removeFirst(program.layers[layer].nodes.lowerBound)
    rest.inputs = inputs
    for (id, tensor) in zip(inputs, given) {
      rest[id].type = tensor.type
      rest[id].shape = tensor.shape.map(Dimension.fixed)
    }
    let stage = try makeStage(layer, rest, key.shapes)
    stages.withLock { stages in
      if stages.count >= Limits.plansPerModel { stages.removeAll(keepingCapacity: true) }
      stages[key] = stage
    }
    return RunningStage(stage, tensors, sample)
  }

  /// The values that a layer and those after it read from before it.
  private func needs(at layer: Int) -> [ValueID] {
    if let known = entries.withLock({ $0[layer] }) { return known }
    let found = Stage.inputs(
      program.graph.nodes[program.layers[layer].nodes.lowerBound...], in: program.graph)
    entries.withLock { $0[layer] = found }
    return found
  }

  private func makeStage(
    _ first: Int, _ rest: Graph, _ shapes: [[Int]]
  ) throws(ModelError) -> Stage {
    let facts = try ShapeInference.infer(rest, inputShapes: shapes)
    let end =
      program.layers[first...].firstIndex { layer in
        !program.graph.nodes[layer.nodes].allSatisfy { Stage.isPlanned($0, in: rest, facts) }
      } ?? program.layers.count
    guard end > first else { return Stage(program, first..<first + 1, model: nil) }
    let range = first..<end
    let model: CPUModel
    if let known = models.withLock({ $0[range] }) {
      model = known
    } else {
      let part = Stage.part(program, range, types: rest)
      model = try CPUModel(
        part,
        options: LoadOptions(
          maximumBatch: 1, units: options.units, precision: options.precision,
          weights: options.weights),
        families: families, memory: memory)
      models.withLock { $0[range] = model }
    }
    return Stage(program, range, model: model)
  }

  /// A run on zeros of small shapes: what it meets is packed and planned before requests come.
  ///
  /// Zeros may be impossible inputs; then the first request packs what is missing.
  private func rehearse() {
    guard let shapes = program.exampleShapes,
      let workspace = try? makeWorkspace(samples: 1, inputShapes: shapes)
    else { return }
    for (index, id) in program.graph.inputs.enumerated() {
      let type = program.graph[id].type ?? .float32
      let count = shapes[index].elementCount
      workspace.setInput(
        index,
        to: type == .string
          ? Tensor(strings: Array(repeating: [], count: count), shape: shapes[index])
          : Tensor(
            type: type, shape: shapes[index],
            storage: TensorStorage(byteCount: count * type.byteSize)))
    }
    let units = options.units.max() ?? 1
    try? run(0..<program.layers.count, samples: 0..<1, in: workspace, units: units)
    for (range, model) in models.withLock({ $0 }) where !model.layers.isEmpty {
      layers.replaceSubrange(range, with: model.layers[range])
    }
  }
}

/// The memory of one batch of a staged model.
final class StagedWorkspace: Workspace {
  let tensors: TensorWorkspace
  /// The stage in the middle of which a sample is.
  var stages: [RunningStage?]

  init(_ tensors: TensorWorkspace) {
    self.tensors = tensors
    stages = Array(repeating: nil, count: tensors.samples)
  }

  var samples: Int { tensors.samples }

  var byteCount: ByteCount {
    stages.reduce(into: tensors.byteCount) { $0 += $1?.workspace?.byteCount ?? .zero }
  }

  func grow(to samples: Int) {
    tensors.grow(to: samples)
    while stages.count < tensors.samples { stages.append(nil) }
  }

  func setInput(_ index: Int, samples: Range<Int>, from elements: UnsafeRawBufferPointer) {
    tensors.setInput(index, samples: samples, from: elements)
  }

  func setInput(_ index: Int, to tensor: Tensor) { tensors.setInput(index, to: tensor) }

  func setInput(_ index: Int, samples: Range<Int>, to tensor: Tensor) {
    tensors.setInput(index, samples: samples, to: tensor)
  }

  func outputShape(_ index: Int) -> [Int] { tensors.outputShape(index) }

  func output(_ index: Int, samples: Range<Int>) -> Tensor {
    tensors.output(index, samples: samples)
  }

  func releaseValues(before layer: Int) { tensors.releaseValues(before: layer) }
}
