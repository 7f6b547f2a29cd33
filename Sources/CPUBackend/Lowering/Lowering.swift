import Compiler
import Models
import Reference
import Vocabulary

/// Makes a plan of a program: chooses a kernel for each node and a layout for each value.
///
/// The choices depend on the program and its shapes, never on the number of samples, so that a
/// batch can go on in another plan than the one it began in.
struct Lowering {
  let model: CPUModel
  let program: Program
  let samples: Int
  /// Shapes and known elements with this number of samples.
  let facts: [ValueFacts]
  var buffers: [Plan.Buffer] = []
  var steps: [Plan.Step] = []
  /// What is known of each buffer besides its memory: shape with all samples, and layout.
  var forms: [(shape: [Int], type: ElementType, layout: Layout)] = []
  /// The type in which kernels leave what the graph calls FP32.
  let stored: ElementType
  /// The buffer that holds a value.
  private var homes: [Int?]
  /// Buffers that hold a value in another layout, made by the layer being lowered.
  private var copies: [Int: [Form: Int]] = [:]
  let units: Int
  /// The units that the node being lowered runs on.
  var nodeUnits: Int
  var layer = 0

  init(_ model: CPUModel, samples: Int, units: Int, facts: [ValueFacts]) {
    self.model = model
    self.samples = samples
    self.units = units
    nodeUnits = units
    self.facts = facts
    program = model.program
    stored = model.precision == .bfloat16 ? .bfloat16 : .float32
    homes = Array(repeating: nil, count: facts.count)
  }

  /// Lowers the whole program.
  mutating func plan() throws(ModelError) -> Plan {
    for id in program.graph.inputs { _ = try makeBuffer(id, .plain) }
    var ranges: [Range<Int>] = []
    for index in program.layers.indices {
      layer = index
      copies.removeAll(keepingCapacity: true)
      let first = steps.count
      for node in program.graph.nodes[program.layers[index].nodes] { try lowerForItsWork(node) }
      ranges.append(first..<steps.count)
    }
    layer = program.layers.count - 1
    for id in program.graph.outputs { try settleOutput(id, &ranges) }
    var (shapes, types) = ([[Int]](), [ElementType]())
    for id in program.graph.outputs {
      shapes.append(try shape(id))
      types.append(try type(id))
    }
    return Plan(
      samples: samples, buffers: buffers, steps: steps, layers: ranges,
      inputs: program.graph.inputs.map { homes[$0.index] },
      outputs: program.graph.outputs.map { homes[$0.index] }, outputShapes: shapes,
      outputTypes: types)
  }

  // MARK: Values

  /// The shape of a value with all samples of the plan.
  func shape(_ id: ValueID) throws(ModelError) -> [Int] {
    if let constant = program.graph[id].constant { return constant.shape }
    guard let shape = facts[id.index].fixedShape else {
      throw ModelError(
        "The shape of '\(program.graph[id].name)' depends on the data, which is not supported.")
    }
    return shape
  }

  func type(_ id: ValueID) throws(ModelError) -> ElementType {
    guard let type = facts[id.index].type ?? program.graph[id].type else {
      throw ModelError("The type of '\(program.graph[id].name)' is not known.")
    }
    return type
  }

  /// A constant, or what follows from shapes alone; nil for what a request brings.
  func constant(_ id: ValueID) -> Tensor? {
    if let constant = program.graph[id].constant { return constant }
    switch facts[id.index].known {
    case .tensor(let tensor)?: return tensor
    case .sizes(let shape, let sizes)?:
      let numbers = sizes.compactMap { if case .fixed(let size) = $0 { size } else { nil } }
      guard numbers.count == sizes.count, let type = facts[id.index].type else { return nil }
      switch type {
      case .int64: return .integers(numbers, shape)
      case .bool:
        return .make(.bool, shape, as: UInt8.self) { elements in
          for (index, number) in numbers.enumerated() { elements[index] = number == 0 ? 0 : 1 }
        }
      default: return nil
      }
    case nil: return nil
    }
  }

  /// Where a value lies that a kernel made or a request brought; one that follows from shapes alone
  /// is laid there by this layer.
  mutating func home(_ id: ValueID) throws(ModelError) -> Int {
    if let buffer = homes[id.index] { return buffer }
    let plain = Form(layout: .plain, type: try type(id))
    if let copy = copies[id.index]?[plain] { return copy }
    guard let constant = constant(id) else {
      throw ModelError("Value '\(program.graph[id].name)' is read before it is made.")
    }
    let buffer = try materialise(constant, id)
    copies[id.index, default: [:]][plain] = buffer
    return buffer
  }

  /// Memory for a value, in a layout and a type; in the graph's type unless told.
  mutating func makeBuffer(
    _ id: ValueID, _ layout: Layout, _ type: ElementType? = nil, successorOf elder: Int? = nil
  ) throws(ModelError) -> Int {
    let declared = try self.type(id)
    let buffer = try newBuffer(id, shape(id), layout, type ?? declared)
    buffers[buffer].successorOf = elder
    homes[id.index] = buffer
    return buffer
  }

  /// The buffer of a residual whose memory a result may take over: not where the same memory is
  /// read in another order meanwhile.
  func heirloom(_ elder: Int?, besides source: Int) -> Int? {
    elder.flatMap { root($0) == root(source) ? nil : $0 }
  }

  private func root(_ buffer: Int) -> Int {
    var place = buffer
    while let next = buffers[place].alias { place = next }
    return place
  }

  mutating func newBuffer(
    _ id: ValueID, _ shape: [Int], _ layout: Layout, _ type: ElementType
  ) throws(ModelError) -> Int {
    let bytes =
      layout == .plain
      ? shape.elementCount * type.byteSize
      : MemoryDescriptor(shape, type, layout)?.byteCount ?? 0
    let isBatched = model.isBatched[id.index]
    buffers.append(
      Plan.Buffer(
        byteCount: isBatched ? bytes / samples : bytes, isBatched: isBatched,
        home: Plan.Home(value: id, form: Form(layout: layout, type: type), layer: layer)))
    forms.append((shape, type, layout))
    return buffers.count - 1
  }

  /// Lets a value be the memory of another one under its own shape.
  mutating func makeAlias(_ id: ValueID, of source: Int) throws(ModelError) {
    let buffer = try newBuffer(id, shape(id), .plain, forms[source].type)
    buffers[buffer].alias = source
    homes[id.index] = buffer
  }

  /// A value in a layout and a type, moved there by this layer if it lies otherwise; in the graph's
  /// type unless told.
  mutating func value(
    _ id: ValueID, _ layout: Layout, _ type: ElementType? = nil
  ) throws(ModelError) -> Int {
    let source = try home(id)
    let declared = try self.type(id)
    let form = Form(layout: layout, type: type ?? declared)
    guard forms[source].layout != form.layout || forms[source].type != form.type else {
      return source
    }
    if let copy = copies[id.index]?[form] { return copy }
    let copy = try newBuffer(id, forms[source].shape, layout, form.type)
    try reorder(source, copy)
    copies[id.index, default: [:]][form] = copy
    return copy
  }

  /// The type in which a node's result is best left: outputs of the graph as they are told.
  func storedType(_ id: ValueID) -> ElementType {
    program.graph.outputs.contains(id) ? .float32 : stored
  }

  /// A constant as a value, for the rare kernels that cannot take it as a weight.
  private mutating func materialise(_ tensor: Tensor, _ id: ValueID) throws(ModelError) -> Int {
    let buffer = try newBuffer(id, tensor.shape, .plain, tensor.type)
    let bytes = tensor.byteCount
    guard program.graph[id].constant != nil else {
      // It may grow with the samples, which a weight must not.
      steps.append(
        Plan.Step(
          kernel: SwiftKernel { operands in
            withExtendedLifetime(tensor.storage) {
              operands[0].copyMemory(from: tensor.storage.base, byteCount: bytes)
            }
          }, operands: [.buffer(buffer)], writes: 1))
      return buffer
    }
    let weight = try model.plainWeight(tensor, id, layer: layer)
    steps.append(
      Plan.Step(
        kernel: SwiftKernel { operands in
          operands[1].copyMemory(from: operands[0], byteCount: bytes)
        }, operands: [.weight(weight), .buffer(buffer)], writes: 1))
    return buffer
  }

  private mutating func reorder(_ source: Int, _ target: Int) throws(ModelError) {
    guard let from = descriptor(source), let to = descriptor(target),
      let primitive = Primitive.copy(from, to)
    else { throw ModelError("A value cannot be moved to another layout.") }
    append(
      primitive, [(DNNL.from, from, .buffer(source)), (DNNL.to, to, .buffer(target))], writes: 1)
  }

  /// Outputs are told in row-major order; constants among them are copied in.
  private mutating func settleOutput(
    _ id: ValueID, _ ranges: inout [Range<Int>]
  ) throws(ModelError) {
    let told = try type(id)
    if let home = homes[id.index], forms[home].layout == .plain, forms[home].type == told { return }
    let buffer = try value(id, .plain)
    homes[id.index] = buffer
    if let last = ranges.indices.last {
      ranges[last] = ranges[last].lowerBound..<steps.count
    }
  }

  // MARK: Steps

  func descriptor(_ buffer: Int) -> MemoryDescriptor? {
    let form = forms[buffer]
    let shape = form.shape.isEmpty ? [1] : form.shape
    return MemoryDescriptor(shape, form.type, form.layout)
  }

  /// Appends a primitive with its arguments; the last `writes` of them are written.
  mutating func append(
    _ primitive: Primitive,
    _ arguments: [(argument: Int32, descriptor: MemoryDescriptor, operand: Plan.Operand)],
    writes: Int
  ) {
    let kernel = PrimitiveKernel(
      primitive: primitive,
      arguments: arguments.enumerated().map {
        .init(argument: $1.argument, descriptor: $1.descriptor, operand: $0)
      })
    steps.append(Plan.Step(kernel: kernel, operands: arguments.map(\.operand), writes: writes))
  }

  // MARK: Nodes

  /// Chooses a kernel, or the operator's plain meaning where there is none.
  mutating func lower(_ node: Node) throws(ModelError) {
    if isKnown(node) { return }
    if try lowerNatively(node) { return }
    try lowerByReference(node)
  }

  /// Whether all that a node makes follows from shapes alone: then readers take it as constants.
  private func isKnown(_ node: Node) -> Bool {
    node.outputs.allSatisfy { id in
      guard let id else { return true }
      return constant(id) != nil && !program.graph.outputs.contains(id)
    }
  }

  private mutating func lowerNatively(_ node: Node) throws(ModelError) -> Bool {
    if let isDone = try lowerQuantized(node) { return isDone }
    return switch node.operation {
    case "Conv", "FusedConv": try lowerConvolution(node)
    case "Gemm", "FusedGemm": try lowerGemm(node)
    case "MatMul", "FusedMatMul": try lowerMatMul(node)
    case "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool": try lowerPool(node)
    case "LRN": try lowerLocalResponse(node)
    case "Softmax", "LogSoftmax": try lowerSoftmax(node)
    case "BatchNormalization", "FusedBatchNormalization": try lowerBatchNormalization(node)
    case "Concat": try lowerConcat(node)
    case "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout":
      try lowerReshape(node)
    case "Transpose": try lowerTranspose(node)
    case "Add", "Sub", "Mul", "Div", "Max", "Min", "Sum":
      try lowerArithmetic(node)
    case "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "And", "Or", "Xor":
      try lowerBroadcast(node)
    case "Cast": try lowerCast(node)
    case "Slice": try lowerSlice(node)
    case "Split": try lowerSplit(node)
    case "Expand": try lowerExpand(node)
    case "If": try lowerBranch(node)
    case "Pad": try lowerPad(node)
    case "Gather": try lowerGather(node)
    case "PickRows": try lowerPickedRows(node)
    case "Tile": try lowerTile(node)
    case "Where": try lowerChoice(node)
    case "LayerNormalization": try lowerLayerNormalization(node)
    case "CumSum": try lowerRunningSum(node)
    case "ArgMax", "ArgMin": try lowerExtremePlace(node)
    case "TopK": try lowerLargest(node)
    case "Pow": try lowerPower(node)
    case "Not": try lowerNot(node)
    case "Reciprocal", "Erf", "Floor", "Ceil", "Sin", "Cos": try lowerOtherFunction(node)
    case "Attention": try lowerAttention(node)
    case "LSTM": try lowerMemoryCells(node)
    case "GRU": try lowerGatedUnits(node)
    case "Resize", "Upsample": try lowerResize(node)
    case "ConvTranspose", "FusedConvTranspose": try lowerTransposedConvolution(node)
    case "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin": try lowerReduction(node)
    default: try lowerUnary(node)
    }
  }

  private mutating func lowerByReference(_ node: Node) throws(ModelError) {
    guard Reference.knows(node.operation, domain: node.domain) else {
      throw ModelError(
        "Node '\(node.name)' uses operator \(node.operation) of opset \(node.opset), which is "
          + "not supported.")
    }
    var (operands, inputs) = ([Plan.Operand](), [ReferenceKernel.Input]())
    for id in node.inputs {
      guard let id else {
        inputs.append(.missing)
        continue
      }
      if let constant = constant(id), homes[id.index] == nil {
        inputs.append(.constant(constant))
      } else {
        let buffer = try value(id, .plain)
        inputs.append(
          .operand(operands.count, type: forms[buffer].type, shape: forms[buffer].shape))
        operands.append(.buffer(buffer))
      }
    }
    var outputs: [(operand: Int, byteCount: Int)?] = []
    let reads = operands.count
    for id in node.outputs {
      guard let id else {
        outputs.append(nil)
        continue
      }
      let buffer = try makeBuffer(id, .plain)
      outputs.append(
        (operands.count, forms[buffer].shape.elementCount * forms[buffer].type.byteSize))
      operands.append(.buffer(buffer))
    }
    let kernel = ReferenceKernel(node: node, inputs: inputs, outputs: outputs)
    steps.append(Plan.Step(kernel: kernel, operands: operands, writes: operands.count - reads))
  }
}

extension Tensor {
  /// An INT64 tensor.
  static func integers(_ values: [Int], _ shape: [Int]) -> Tensor {
    make(.int64, shape, as: Int64.self) { elements in
      for index in elements.indices { elements[index] = Int64(values[index]) }
    }
  }
}
