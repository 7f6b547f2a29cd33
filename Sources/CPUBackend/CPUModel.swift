import Backend
import COneDNN
import Compiler
import Models
import Threads
import Vocabulary

/// What was chosen for a node when it was lowered first, and holds for every number of samples.
struct Pin {
  var weights: MemoryDescriptor
  var implementation = ""
  /// How a convolution is made.
  var convolution: ConvolutionWay?
}

/// A program on the CPU: its weights, and plans for the numbers of samples that occur.
final class CPUModel: LoadedModel, @unchecked Sendable {
  // Unchecked: what changes after loading is under locks.

  /// What tells choices apart.
  struct PinKey: Hashable {
    var value: ValueID
    var shape: [Int]
  }

  /// What tells branches apart: the first value that their node makes, and which it is.
  private struct BranchKey: Hashable {
    var value: ValueID
    var name: String
  }

  /// What tells plans apart.
  private struct Key: Hashable {
    var samples: Int
    var units: Int
    var inputShapes: [[Int]]
  }

  let program: Program
  let families: KernelFamilies
  /// What convolutions and products compute with.
  let precision: Precision
  let memory: MemoryPool
  let weights: any WeightStore
  var layers: [LayerFootprint] = []
  /// Whether each value has its own part for each sample.
  private(set) var isBatched: [Bool] = []
  let isIndependent: Bool
  private let maximumBatch: Int
  let pins = Lock<[PinKey: Pin]>([:])
  private let plans = Lock<[Key: Plan]>([:])
  private let branches = Lock<[BranchKey: CPUModel]>([:])
  /// Numbers of units that a run may have.
  let unitCounts: [Int]
  /// Until the model is ready, when one thread alone has it.
  var isLoading = true
  /// The same program with the other kernels of the layers that have some; nil where none has.
  var alternative: CPUModel?

  /// Makes a program ready.
  ///
  /// - Parameter facts: What is known of the values with the example shapes, unless it has yet to
  ///   be found out.
  /// - Throws: `ModelError`, naming what cannot run.
  init(
    _ program: Program, options: LoadOptions, families: KernelFamilies, memory: MemoryPool,
    facts: [ValueFacts]? = nil
  ) throws(ModelError) {
    self.program = program
    self.memory = memory
    self.families = families
    precision = options.precision
    unitCounts = options.units
    weights = options.weights
    isIndependent = if case .independent = program.batching { true } else { false }
    maximumBatch = options.maximumBatch
    guard let shapes = program.exampleShapes else {
      isBatched = try Self.batchedValues(program, isIndependent, nil)
      isLoading = false
      return
    }
    defer { isLoading = false }
    let one = try Self.facts(program, inputShapes: shapes, facts)
    isBatched = try Self.batchedValues(program, isIndependent, one)
    let units = options.units.max() ?? 1
    let single = try plan(samples: 1, inputShapes: shapes, units: units, facts: one)
    layers = options.footprints ?? footprints(single)
    if options.offersAlternatives { try offerAlternatives(single, shapes, units) }
    guard options.makesAllKernels else { return }
    for samples in Self.ladder(options.maximumBatch) where samples > 1 {
      _ = try plan(samples: samples, inputShapes: shapes, units: units)
    }
  }

  /// A branch of another model's program, which lies among the weights of a layer of that.
  private init(_ program: Program, branchOf model: CPUModel, weights: BranchWeights) {
    self.program = program
    maximumBatch = 1
    self.weights = weights
    (memory, families, precision) = (model.memory, model.families, model.precision)
    (unitCounts, isIndependent, isLoading) = (model.unitCounts, false, false)
    isBatched = Array(repeating: false, count: program.graph.values.count)
  }

  /// A model's program with direct convolutions alone.
  init(directFormOf model: CPUModel, weights: AlternativeWeights) {
    (program, self.weights) = (model.program, weights)
    families = model.families.subtracting(.minimalFiltering)
    (memory, precision, unitCounts) = (model.memory, model.precision, model.unitCounts)
    (isIndependent, isBatched) = (model.isIndependent, model.isBatched)
    maximumBatch = model.maximumBatch
  }

  // MARK: LoadedModel

  func makeWorkspace(
    samples: Int, inputShapes: [[Int]]
  ) throws(ModelError) -> any Workspace {
    let shapes = isIndependent ? inputShapes.map { [1] + $0.dropFirst() } : inputShapes
    let plan = try planOfOne(inputShapes: shapes)
    if layers.isEmpty { layers = footprints(plan) }
    return CPUWorkspace(self, plan, capacity: isIndependent ? samples : 1, sampleShapes: shapes)
  }

  func run(
    _ layers: Range<Int>, kernels: ArraySlice<Int>, samples: Range<Int>,
    in workspace: any Workspace, units: Int
  ) throws(ModelError) {
    guard let workspace = workspace as? CPUWorkspace else {
      throw ModelError("The workspace was made by another backend.")
    }
    OneDNN.use(units: units)
    var rest = layers
    while !rest.isEmpty {
      let (end, isAlternative) = stretch(rest, kernels.suffix(rest.count))
      let model = isAlternative ? alternative ?? self : self
      try model.run(rest.lowerBound..<end, samples: samples, workspace, units)
      rest = end..<rest.upperBound
    }
  }

  private func run(
    _ layers: Range<Int>, samples: Range<Int>, _ workspace: CPUWorkspace, _ units: Int
  ) throws(ModelError) {
    for block in try blocks(layers, samples.count, workspace.sampleShapes, units) {
      var first = samples.lowerBound
      for part in Self.parts(samples.count, atMost: block.samples) {
        let plan = try plan(
          samples: part, inputShapes: workspace.sampleShapes, units: units)
        try workspace.run(plan, block.layers, first: first, of: samples)
        first += part
      }
      if block.layers != layers {
        workspace.releaseInner(layers, before: block.layers.upperBound, samples: samples)
      }
    }
  }

  func makeKernels(samples: Int) throws(ModelError) -> Bool {
    guard samples <= maximumBatch, let shapes = program.exampleShapes else { return false }
    let units = unitCounts.max() ?? 1
    let plan = try plan(samples: samples, inputShapes: shapes, units: units)
    OneDNN.use(units: units)
    for step in plan.steps { try step.kernel.prepare() }
    return true
  }

  // MARK: Plans

  /// Numbers of samples for which kernels are made at load.
  static func ladder(_ maximum: Int) -> [Int] {
    Array(sequence(first: 1) { $0 * 2 }.prefix { $0 <= maximum })
  }

  /// A number of samples as a sum of rungs of the ladder, largest first.
  ///
  /// - Parameter most: A bound on each of them.
  static func parts(_ samples: Int, atMost most: Int = .max) -> [Int] {
    var (parts, rest) = ([Int](), samples)
    while rest > 0 {
      let bound = min(rest, most)
      parts.append(1 << (Int.bitWidth - 1 - bound.leadingZeroBitCount))
      rest -= parts[parts.count - 1]
    }
    return parts
  }

  /// - Parameters:
  ///   - inputShapes: The shapes of one sample's inputs.
  ///   - facts: What is known of the values with them, unless it has yet to be found out.
  func plan(
    samples: Int, inputShapes: [[Int]], units: Int, facts: [ValueFacts]? = nil
  ) throws(ModelError) -> Plan {
    let key = Key(samples: samples, units: units, inputShapes: inputShapes)
    if let known = plans.withLock({ $0[key] }) { return known }
    OneDNN.use(units: units)
    let shapes = isIndependent ? inputShapes.map { [samples] + $0.dropFirst() } : inputShapes
    let known = try Self.facts(program, inputShapes: shapes, facts)
    var lowering = Lowering(self, samples: samples, units: units, facts: known)
    let plan = try lowering.plan()
    plans.withLock { plans in
      // A client that sends ever new shapes must not fill the memory with their plans.
      if plans.count >= Limits.plansPerModel { plans.removeAll(keepingCapacity: true) }
      plans[key] = plan
    }
    return plan
  }

  /// A plan for one sample and whatever number of units: plans for others differ in kernels alone.
  func planOfOne(inputShapes: [[Int]]) throws(ModelError) -> Plan {
    let keys = unitCounts.map { Key(samples: 1, units: $0, inputShapes: inputShapes) }
    let known = plans.withLock { plans in keys.compactMap { plans[$0] }.first }
    if let known { return known }
    return try plan(samples: 1, inputShapes: inputShapes, units: unitCounts.max() ?? 1)
  }

  /// Lets the plans go, for a model that is most likely not asked.
  func forgetPlans() { plans.withLock { $0.removeAll() } }

  /// The model of a branch, which keeps its kernels and weights for all shapes.
  func branch(
    _ value: ValueID, _ name: String, layer: Int, make: () -> Program?
  ) -> CPUModel? {
    let key = BranchKey(value: value, name: name)
    if let known = branches.withLock({ $0[key] }) { return known }
    guard let program = make() else { return nil }
    let weights = BranchWeights(weights, layer: layer, prefix: "\(value.index) \(name) ")
    let made = CPUModel(program, branchOf: self, weights: weights)
    return branches.withLock { branches in
      // Another thread may have been faster; pins must be the same for all.
      if let known = branches[key] { return known }
      branches[key] = made
      return made
    }
  }

  /// What is known of the values with the example shapes, when all other shapes follow from those
  /// of the inputs and no value is a string; nil otherwise.
  static func plannedFacts(_ program: Program) -> [ValueFacts]? {
    guard let shapes = program.exampleShapes,
      let facts = try? ShapeInference.infer(program.graph, inputShapes: shapes)
    else { return nil }
    let isPlanned = program.graph.nodes.allSatisfy { node in
      (node.inputs + node.outputs).allSatisfy { id in
        guard let id else { return true }
        let type = facts[id.index].type ?? program.graph[id].type
        return facts[id.index].fixedShape != nil && type ?? .string != .string
      }
    }
    return isPlanned ? facts : nil
  }

  private static func facts(
    _ program: Program, inputShapes: [[Int]], _ known: [ValueFacts]?
  ) throws(ModelError) -> [ValueFacts] {
    if let known { return known }
    return try ShapeInference.infer(program.graph, inputShapes: inputShapes)
  }

  /// What was chosen for the node that makes a value.
  ///
  /// - Parameter shape: The shape of one sample's input, where the choice depends on it: images of
  ///   another size may need another kernel, whose weights may lie otherwise.
  func pinned(_ value: ValueID, _ shape: ArraySlice<Int> = []) -> Pin? {
    pins.withLock { $0[PinKey(value: value, shape: Array(shape))] }
  }

  func pin(_ value: ValueID, _ shape: ArraySlice<Int> = [], _ pin: Pin) {
    pins.withLock { pins in
      if pins.count >= Limits.plansPerModel * program.graph.nodes.count {
        pins.removeAll(keepingCapacity: true)
      }
      pins[PinKey(value: value, shape: Array(shape))] = pin
    }
  }

  /// Values whose first dimension grows with the samples.
  ///
  /// - Parameter first: What is known of them with the example shapes.
  private static func batchedValues(
    _ program: Program, _ isIndependent: Bool, _ first: [ValueFacts]?
  ) throws(ModelError) -> [Bool] {
    guard isIndependent, let first, let one = program.exampleShapes else {
      return Array(repeating: false, count: program.graph.values.count)
    }
    let two = one.map { [2] + $0.dropFirst() }
    let second = try ShapeInference.infer(program.graph, inputShapes: two)
    return zip(first, second).map { $0.fixedShape != $1.fixedShape }
  }

  func footprints(_ plan: Plan) -> [LayerFootprint] {
    program.layers.indices.map { index in
      let steps = plan.layers[index]
      let live = plan.valuesAlive(after: steps)
      let arena = plan.arena(index..<index + 1).byteCount
      // Samples that came here in different batches are laid together first.
      let gathered = plan.valuesRead(from: steps).reduce(0) { $0 + plan.size($1) }
      return LayerFootprint(
        name: program.layers[index].name, weights: ByteCount(weights.byteCount(layer: index)),
        activations: ByteCount(live.reduce(0) { $0 + plan.size($1) }),
        scratch: ByteCount(arena + gathered))
    }
  }
}
