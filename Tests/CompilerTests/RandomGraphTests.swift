import Models
import Testing
import Vocabulary

@testable import Compiler

@Suite("Random graphs")
struct RandomGraphTests {
  @Test("A graph gives the same answers compiled, alone and in a batch", arguments: 0..<150)
  func chain(seed: UInt64) throws {
    var generator = RandomGraph(seed: seed &* 7919 &+ 5)
    let graph = generator.make()
    let names = graph.nodes.map(\.operation).joined(separator: " ")
    do {
      try expectSameAnswers(graph, shapes: [[1] + generator.inputShape], seed: seed)
      try expectBatched(graph, sampleShapes: [generator.inputShape], samples: 2, seed: seed)
    } catch {
      Issue.record("seed \(seed): \(error) in \(names)")
    }
  }
}

/// Makes chains of operators that each treat samples alone, for one sample.
private struct RandomGraph {
  private var random: SeededGenerator
  private let builder: GraphBuilder
  let inputShape: [Int]
  /// The values made so far with their shapes, the batch of one included.
  private var values: [(id: ValueID, shape: [Int])] = []

  init(seed: UInt64) {
    random = SeededGenerator(seed: seed)
    builder = GraphBuilder(opset: 17, seed: seed)
    inputShape = [
      Int.random(in: 1...4, using: &random), Int.random(in: 3...6, using: &random),
      Int.random(in: 3...6, using: &random),
    ]
  }

  mutating func make() -> Graph {
    let shape = [1] + inputShape
    values = [(builder.input("x", shape.map(Dimension.fixed)), shape)]
    for _ in 0..<Int.random(in: 3...12, using: &random) { addNode() }
    return builder.finish(values[values.count - 1].id)
  }

  private mutating func pick(_ range: ClosedRange<Int>) -> Int {
    Int.random(in: range, using: &random)
  }

  private mutating func add(
    _ operation: String, _ inputs: [ValueID?], _ attributes: [String: Attribute] = [:],
    shape: [Int]
  ) {
    values.append((builder.node(operation, inputs, attributes), shape))
  }

  private mutating func addNode() {
    let (x, shape) = values[values.count - 1]
    switch pick(0...14) {
    case 0, 1: addConvolution(x, shape)
    case 2: addActivation(x, shape)
    case 3: addNormalization(x, shape)
    case 4: addConstant(x, shape)
    case 5: addResidual(x, shape)
    case 6: addPooling(x, shape)
    case 7: addReshape(x, shape)
    case 8: addTranspose(x, shape)
    case 9: addProduct(x, shape)
    case 10: addReduction(x, shape)
    case 11: addJoin(x, shape)
    case 12: addCut(x, shape)
    case 13: add("Softmax", [x], ["axis": .int(pick(1...max(1, shape.count - 1)))], shape: shape)
    default: addAxes(x, shape)
    }
  }

  private mutating func addConvolution(_ x: ValueID, _ shape: [Int]) {
    guard shape.count == 4 else { return addActivation(x, shape) }
    let kernel = pick(1...min(3, shape[2], shape[3]))
    let channels = pick(1...4)
    let stride = pick(1...2)
    let w = builder.weight([channels, shape[1], kernel, kernel], from: -0.5, to: 0.5)
    let bias = pick(0...1) == 0 ? nil : builder.weight([channels])
    let spatial = shape[2...].map { ($0 + 2 - kernel) / stride + 1 }
    add(
      "Conv", [x, w, bias],
      ["pads": .ints([1, 1, 1, 1]), "strides": .ints([stride, stride])],
      shape: [1, channels] + spatial)
  }

  private mutating func addActivation(_ x: ValueID, _ shape: [Int]) {
    switch pick(0...6) {
    case 0: add("Relu", [x], shape: shape)
    case 1: add("Sigmoid", [x], shape: shape)
    case 2: add("LeakyRelu", [x], ["alpha": .float(0.2)], shape: shape)
    case 3: add("HardSwish", [x], shape: shape)
    case 4: add("Mul", [builder.node("Sigmoid", [x]), x], shape: shape)
    case 5: add("Clip", [x, builder.scalar(-0.5), builder.scalar(0.8)], shape: shape)
    default: add("Dropout", [builder.node("Identity", [x])], shape: shape)
    }
  }

  private mutating func addNormalization(_ x: ValueID, _ shape: [Int]) {
    guard shape.count >= 2 else { return addActivation(x, shape) }
    let channels = [shape[1]]
    add(
      "BatchNormalization",
      [
        x, builder.weight(channels), builder.weight(channels), builder.weight(channels),
        builder.weight(channels, from: 0.5, to: 2),
      ], shape: shape)
  }

  private mutating func addConstant(_ x: ValueID, _ shape: [Int]) {
    let operation = ["Add", "Sub", "Mul"][pick(0...2)]
    var constant = Array(shape.suffix(pick(0...shape.count)))
    if constant.count == shape.count { constant[0] = 1 }
    for axis in constant.indices where pick(0...1) == 0 { constant[axis] = 1 }
    let operands = [x, builder.weight(constant)]
    add(operation, pick(0...1) == 0 ? operands : operands.reversed(), shape: shape)
  }

  private mutating func addResidual(_ x: ValueID, _ shape: [Int]) {
    let same = values.filter { $0.shape == shape }
    let other = same[pick(0...same.count - 1)].id
    add("Add", [x, other], shape: shape)
  }

  private mutating func addPooling(_ x: ValueID, _ shape: [Int]) {
    guard shape.count == 4, shape[2] > 1, shape[3] > 1 else { return addActivation(x, shape) }
    if pick(0...2) == 0 {
      add("GlobalAveragePool", [x], shape: [1, shape[1], 1, 1])
    } else {
      add(
        pick(0...1) == 0 ? "MaxPool" : "AveragePool", [x], ["kernel_shape": .ints([2, 2])],
        shape: [1, shape[1], shape[2] - 1, shape[3] - 1])
    }
  }

  private mutating func addReshape(_ x: ValueID, _ shape: [Int]) {
    let count = shape.elementCount
    let divisors = (1...count).filter { count % $0 == 0 }
    let rows = divisors[pick(0...divisors.count - 1)]
    let target = [1, rows, count / rows]
    let open = pick(0...3)
    let written = target.indices.map { $0 == open ? -1 : target[$0] }
    add("Reshape", [x, builder.ints(written)], shape: target)
  }

  private mutating func addTranspose(_ x: ValueID, _ shape: [Int]) {
    let order = [0] + Array(1..<shape.count).shuffled(using: &random)
    let turned = order.map { shape[$0] }
    add("Transpose", [x], ["perm": .ints(order)], shape: turned)
    guard pick(0...1) == 0 else { return }
    addActivation(values[values.count - 1].id, turned)
    let inverse = order.indices.map { place in order.firstIndex(of: place) ?? 0 }
    add("Transpose", [values[values.count - 1].id], ["perm": .ints(inverse)], shape: shape)
  }

  private mutating func addProduct(_ x: ValueID, _ shape: [Int]) {
    guard shape.count >= 2, let inner = shape.last else { return }
    let columns = pick(1...4)
    let w = builder.weight([inner, columns])
    if shape.count == 2 {
      add("Gemm", [x, w, builder.weight([columns])], shape: [1, columns])
    } else {
      let y = builder.node("MatMul", [x, w])
      add("Add", [y, builder.weight([columns])], shape: shape.dropLast() + [columns])
    }
  }

  private mutating func addReduction(_ x: ValueID, _ shape: [Int]) {
    guard shape.count > 2 else { return addActivation(x, shape) }
    let axis = pick(1...shape.count - 1)
    let keeps = pick(0...1)
    var reduced = shape
    if keeps == 1 { reduced[axis] = 1 } else { reduced.remove(at: axis) }
    add("ReduceMean", [x], ["axes": .ints([axis]), "keepdims": .int(keeps)], shape: reduced)
  }

  private mutating func addJoin(_ x: ValueID, _ shape: [Int]) {
    guard shape.count > 1, shape[1] <= 8 else { return }
    let shared = builder.weight([1, 2] + shape.dropFirst(2))
    add(
      "Concat", [x, x, shared], ["axis": .int(1)],
      shape: [1, shape[1] * 2 + 2] + shape.dropFirst(2))
  }

  private mutating func addCut(_ x: ValueID, _ shape: [Int]) {
    guard shape.count > 1, let size = shape.last, size > 1 else { return }
    add(
      "Slice", [x, builder.ints([1]), builder.ints([Int.max]), builder.ints([-1])],
      shape: shape.dropLast() + [size - 1])
  }

  private mutating func addAxes(_ x: ValueID, _ shape: [Int]) {
    guard shape.count < 5 else { return }
    let axis = pick(1...shape.count)
    var wide = shape
    wide.insert(1, at: axis)
    let y = builder.node("Relu", [builder.node("Unsqueeze", [x, builder.ints([axis])])])
    values.append((y, wide))
  }
}
