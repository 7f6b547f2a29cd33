import Backend
import Compiler
import Models
import Reference
import Testing
import Vocabulary

@testable import CPUBackend

/// Numbers that depend on the seed alone: a Lehmer generator.
struct Seeded {
  private var state: UInt64

  init(_ seed: Int) { state = UInt64(seed) &* 2 &+ 1 }

  mutating func floats(_ count: Int) -> [Float] {
    (0..<count).map { _ in
      state = state &* 0xDA94_2042_E4DD_58B5
      return Float(Int32(truncatingIfNeeded: state >> 32)) / Float(Int32.max)
    }
  }

  mutating func tensor(_ shape: [Int], scale: Float = 1) -> Tensor {
    let values = floats(shape.elementCount)
    return Tensor.make(.float32, shape, as: Float.self) { elements in
      for index in elements.indices { elements[index] = values[index] * scale }
    }
  }
}

/// Builds graphs value by value, with random weights.
struct GraphMaker {
  var graph = Graph(name: "g", values: [], nodes: [], inputs: [], outputs: [])
  var random: Seeded
  let opset: Int

  init(seed: Int, opset: Int = 13) {
    random = Seeded(seed)
    self.opset = opset
  }

  mutating func input(_ shape: [Int]) -> ValueID {
    let id = add(
      Value(
        name: "x\(graph.values.count)", type: .float32,
        shape: [.symbol("n")] + shape.map(Dimension.fixed)))
    graph.inputs.append(id)
    return id
  }

  mutating func weight(_ shape: [Int], scale: Float = 1) -> ValueID {
    let tensor = random.tensor(shape, scale: scale)
    return add(
      Value(
        name: "w\(graph.values.count)", type: .float32, shape: shape.map(Dimension.fixed),
        constant: tensor))
  }

  mutating func constant(_ values: [Float], _ shape: [Int]) -> ValueID {
    let tensor = Tensor.make(.float32, shape, as: Float.self) { elements in
      for index in elements.indices { elements[index] = values[index] }
    }
    return add(
      Value(
        name: "c\(graph.values.count)", type: .float32, shape: shape.map(Dimension.fixed),
        constant: tensor))
  }

  mutating func node(
    _ operation: String, _ inputs: [ValueID], _ attributes: [String: Attribute] = [:]
  ) -> ValueID {
    let output = add(Value(name: "v\(graph.values.count)"))
    graph.nodes.append(
      Node(
        name: "\(operation)\(graph.nodes.count)", operation: operation, opset: opset,
        inputs: inputs, outputs: [output], attributes: attributes))
    return output
  }

  mutating func finish(_ outputs: ValueID...) -> Graph {
    graph.outputs = outputs
    return graph
  }

  private mutating func add(_ value: Value) -> ValueID {
    graph.values.append(value)
    return ValueID(graph.values.count - 1)
  }
}

/// Runs a graph on the CPU backend, the samples in parts of the given sizes.
func runOnCPU(
  _ graph: Graph, _ inputs: [Tensor], parts: [Int], units: Int = 1
) throws -> [Tensor] {
  let program = try Compiler.compile(graph)
  let samples = parts.reduce(0, +)
  let model = try CPUBackend(computeUnits: units).load(
    program, options: LoadOptions(maximumBatch: 4, units: Array(1...units)))
  let workspace = try model.makeWorkspace(samples: samples, inputShapes: inputs.map(\.shape))
  for (index, tensor) in inputs.enumerated() {
    workspace.setInput(
      index, samples: 0..<samples,
      from: UnsafeRawBufferPointer(start: tensor.storage.base, count: tensor.byteCount))
  }
  var first = 0
  for part in parts {
    try model.run(
      0..<program.layers.count, samples: first..<first + part, in: workspace, units: units)
    first += part
  }
  return graph.outputs.indices.map { workspace.output($0, samples: 0..<samples) }
}

/// Expects the answers of `Reference`, to a thousandth of the largest.
func expectAgreement(_ graph: Graph, seed: Int, sourceLocation: SourceLocation = #_sourceLocation)
  throws
{
  var random = Seeded(seed + 1000)
  for parts in [[1], [3], [2, 1], [8]] {
    let samples = parts.reduce(0, +)
    let inputs = random.inputs(of: graph, samples: samples)
    let expected = try Interpreter.run(graph, inputs: inputs)
    let answers = try runOnCPU(graph, inputs, parts: parts)
    expectClose(answers, expected, "seed \(seed), parts \(parts)", sourceLocation)
  }
}

/// Expects shapes and elements to agree, elements to a ten-thousandth of the largest.
func expectClose(
  _ answers: [Tensor], _ expected: [Tensor], _ comment: Comment, _ sourceLocation: SourceLocation
) {
  for (right, answer) in zip(expected, answers) {
    #expect(right.shape == answer.shape, comment, sourceLocation: sourceLocation)
    let (a, b) = (elements(right), elements(answer))
    let scale = a.reduce(1e-3) { max($0, abs($1)) }
    let error = zip(a, b).reduce(Float(0)) { max($0, abs($1.0 - $1.1)) }
    #expect(error <= 1e-4 * scale, comment, sourceLocation: sourceLocation)
  }
}

extension Seeded {
  /// A tensor for each input of a graph, its free sizes being the number of samples.
  mutating func inputs(of graph: Graph, samples: Int) -> [Tensor] {
    graph.inputs.map { id in
      tensor(
        (graph[id].shape ?? []).map { if case .fixed(let size) = $0 { size } else { samples } })
    }
  }
}

func elements(_ tensor: Tensor) -> [Float] {
  tensor.type == .float32
    ? tensor.withElements(as: Float.self) { Array($0) }
    : tensor.withElements(as: Int64.self) { $0.map(Float.init) }
}

@Suite("CPU against Reference")
struct DifferentialTests {
  @Test("Convolutions of all kinds", arguments: 0..<24)
  func convolutions(seed: Int) throws {
    var maker = GraphMaker(seed: seed)
    let groups = [1, 1, 2, 8][seed % 4]
    let (channels, outputs) = ([3, 8, 16, 32][seed / 4 % 4] * (groups > 1 ? 8 : 1), 32)
    let kernel = [1, 3, 5, 3][seed % 4]
    let x = maker.input([channels, 14, 13])
    let w = maker.weight([outputs, channels / groups, kernel, kernel], scale: 0.2)
    let b = maker.weight([outputs])
    let y = maker.node(
      "Conv", seed % 5 == 0 ? [x, w] : [x, w, b],
      [
        "group": .int(groups), "strides": .ints([1 + seed % 2, 1 + seed % 2]),
        "pads": .ints([kernel / 2, seed % 2, seed % 2, kernel / 2]),
        "dilations": .ints(seed % 7 == 0 ? [2, 2] : [1, 1]),
      ])
    let r = seed % 3 == 0 ? y : maker.node("Relu", [y])
    try expectAgreement(maker.finish(r), seed: seed)
  }

  @Test("Minimal filtering and residuals, in place and not", arguments: 0..<6)
  func residuals(seed: Int) throws {
    var maker = GraphMaker(seed: seed)
    let x = maker.input([32, 12, 12])
    let pads: [String: Attribute] = ["pads": .ints([1, 1, 1, 1])]
    func scale(_ channels: Int) -> Float { (2 / Float(channels * 9)).squareRoot() }
    let first = maker.node("Conv", [x, maker.weight([32, 32, 3, 3], scale: scale(32))], pads)
    let second = maker.node(
      "Conv", [maker.node("Relu", [first]), maker.weight([32, 32, 3, 3], scale: scale(32))], pads)
    let sum = maker.node("Add", seed % 2 == 0 ? [second, first] : [x, second])
    let last = maker.node("Relu", [sum])
    // Another reader of the residual: it must not be changed in place.
    let graph = seed % 3 == 0 ? maker.finish(last, first) : maker.finish(last)
    try expectAgreement(graph, seed: seed)
  }

  @Test("Pools with odd borders", arguments: 0..<12)
  func pools(seed: Int) throws {
    var maker = GraphMaker(seed: seed)
    let x = maker.input([24, 11, 10])
    let operation = seed % 2 == 0 ? "MaxPool" : "AveragePool"
    let attributes: [String: Attribute] = [
      "kernel_shape": .ints([3, 2]), "strides": .ints([2, 2]),
      "pads": .ints([seed % 3 == 0 ? 1 : 0, 0, 1, 1]), "ceil_mode": .int(seed / 2 % 2),
    ]
    let counting: [String: Attribute] =
      seed % 4 == 1 ? ["count_include_pad": .int(1)] : [:]
    let y = maker.node(operation, [x], attributes.merging(counting) { $1 })
    let mean = maker.node("GlobalAveragePool", [y])
    try expectAgreement(maker.finish(y, mean), seed: seed)
  }

  @Test("Products with and without bias, residual and activation", arguments: 0..<8)
  func products(seed: Int) throws {
    var maker = GraphMaker(seed: seed)
    let x = maker.input([40])
    let transposes = seed % 2 == 0
    let w = maker.weight(transposes ? [24, 40] : [40, 24], scale: 0.2)
    var y = maker.node(
      "Gemm", seed % 3 == 0 ? [x, w] : [x, w, maker.weight([24])],
      ["transB": .int(transposes ? 1 : 0)])
    if seed % 4 < 2 { y = maker.node("Relu", [y]) }
    let z = maker.node("MatMul", [y, maker.weight([24, 10], scale: 0.2)])
    try expectAgreement(maker.finish(maker.node("Softmax", [z], ["axis": .int(1)])), seed: seed)
  }

  @Test("Layouts meet: joins, shuffles, normalisations and plain arithmetic", arguments: 0..<6)
  func layouts(seed: Int) throws {
    var maker = GraphMaker(seed: seed)
    let x = maker.input([16, 8, 8])
    let channels = seed % 2 == 0 ? 16 : 12
    let a = maker.node("Conv", [x, maker.weight([channels, 16, 1, 1], scale: 0.3)])
    let b = maker.node(
      "Conv", [x, maker.weight([16, 16, 3, 3], scale: 0.1)], ["pads": .ints([1, 1, 1, 1])])
    let joined = maker.node("Concat", [a, b, x], ["axis": .int(1)])
    let total = channels + 32
    let normal = maker.node(
      "LRN", [joined], ["size": .int(5), "alpha": .float(0.1), "beta": .float(0.75)])
    let scaled = maker.node("Mul", [normal, maker.weight([total, 1, 1])])
    let shifted = maker.node("Add", [scaled, maker.weight([1, total, 1, 1])])
    let turned = maker.node("Transpose", [shifted], ["perm": .ints([0, 2, 3, 1])])
    let clipped = maker.node("Sigmoid", [turned])
    try expectAgreement(maker.finish(clipped, shifted), seed: seed)
  }

  @Test("Joins along every axis, of whole groups of channels and of odd ones", arguments: 0..<6)
  func joins(seed: Int) throws {
    var maker = GraphMaker(seed: seed)
    let axis = 1 + seed % 3
    let channels = seed / 3 == 0 ? [32, 16, 48] : [20, 7, 16]
    var parts: [ValueID] = []
    for index in 0..<3 {
      var shape = [16, 6, 5]
      if axis > 1 { shape[axis - 1] += index }
      let outputs = axis == 1 ? channels[index] : channels[0]
      let w = maker.weight([outputs, 16, 1, 1], scale: 0.3)
      parts.append(maker.node("Conv", [maker.input(shape), w]))
    }
    let operand = axis == 3 ? -1 : axis
    let joined = maker.node("Concat", parts + [parts[0]], ["axis": .int(operand)])
    try expectAgreement(maker.finish(joined), seed: seed)
  }

  @Test("Pointwise convolutions in groups of odd sizes", arguments: 0..<8)
  func groupedPointwise(seed: Int) throws {
    var maker = GraphMaker(seed: seed)
    let (groups, inputs, outputs) = [(4, 6, 7), (2, 5, 16), (3, 34, 4), (2, 1, 9)][seed % 4]
    let x = maker.input([groups * inputs, 5 + seed % 3, 7])
    let (w, b) = (
      maker.weight([groups * outputs, inputs, 1, 1], scale: 0.3), maker.weight([groups * outputs])
    )
    let group: [String: Attribute] = ["group": .int(groups)]
    let y = maker.node("Conv", seed % 3 == 0 ? [x, w] : [x, w, b], group)
    let back = maker.weight([groups * outputs, outputs, 1, 1], scale: 0.3)
    let z = maker.node("Conv", [maker.node("Relu", [y]), back], group)
    let last = maker.node("Relu", [maker.node("Add", [z, y])])
    try expectAgreement(seed % 2 == 0 ? maker.finish(last) : maker.finish(last, y), seed: seed)
  }

  @Test("Normalisations that no convolution takes in", arguments: 0..<4)
  func normalisations(seed: Int) throws {
    var maker = GraphMaker(seed: seed)
    let x = maker.input([16, 9, 9])
    let channels = [32, 12, 16, 20][seed]
    let a = maker.node("Conv", [x, maker.weight([channels, 16, 3, 3], scale: 0.1)])
    let pooled = maker.node(
      "MaxPool", [a], ["kernel_shape": .ints([2, 2]), "strides": .ints([1, 1])])
    let spread = maker.constant(
      maker.random.floats(channels).map { 0.5 + abs($0) }, [channels])
    let normal = maker.node(
      "BatchNormalization",
      [
        pooled, maker.weight([channels]), maker.weight([channels]), maker.weight([channels]),
        spread,
      ])
    let cut = seed % 2 == 0 ? maker.node("Relu", [normal]) : normal
    let next = maker.node("Conv", [cut, maker.weight([8, channels, 1, 1], scale: 0.3)])
    try expectAgreement(maker.finish(next, cut), seed: seed)
  }

  @Test("An operator without a kernel of its own has its plain meaning")
  func fallback() throws {
    var maker = GraphMaker(seed: 3)
    let x = maker.input([6, 5])
    let best = maker.node("ArgMax", [x], ["axis": .int(2), "keepdims": .int(0)])
    try expectAgreement(maker.finish(best), seed: 3)
  }

  @Test("The same sample gives the same bits in every batch and every part")
  func sameBits() throws {
    var maker = GraphMaker(seed: 8)
    let x = maker.input([3, 20, 20])
    let a = maker.node(
      "Conv", [x, maker.weight([32, 3, 3, 3], scale: 0.3)], ["pads": .ints([1, 1, 1, 1])])
    let b = maker.node(
      "Conv", [maker.node("Relu", [a]), maker.weight([32, 32, 3, 3], scale: 0.1)],
      ["pads": .ints([1, 1, 1, 1])])
    let graph = maker.finish(maker.node("GlobalAveragePool", [b]))
    var random = Seeded(5)
    let input = random.tensor([7, 3, 20, 20])
    let whole = try elements(runOnCPU(graph, [input], parts: [7])[0])
    for parts in [[1, 1, 1, 1, 1, 1, 1], [4, 3], [2, 5], [6, 1]] {
      #expect(try elements(runOnCPU(graph, [input], parts: parts)[0]) == whole, "\(parts)")
    }
  }
}
