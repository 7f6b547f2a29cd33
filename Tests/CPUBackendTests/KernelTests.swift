import Compiler
import Glibc
import Models
import Testing
import Vocabulary

@testable import CPUBackend

@Suite("Kernels in Swift against Reference")
struct KernelTests {
  @Test("Arithmetic with one number, in every layout", arguments: 0..<8)
  func scalars(seed: Int) throws {
    var maker = GraphMaker(seed: seed)
    let x = maker.input([16, 6, 5])
    // Channels that leave the last group of the blocked layout half empty.
    let a = maker.node("Conv", [x, maker.weight([seed < 4 ? 20 : 32, 16, 1, 1], scale: 0.3)])
    let number = maker.constant([[0.5, -3, 4, 0.1][seed % 4]], seed % 2 == 0 ? [] : [1])
    let sum = maker.node("Add", [a, number])
    let scaled = maker.node("Mul", [number, sum])
    let shifted = maker.node("Sub", seed % 3 == 0 ? [scaled, number] : [number, scaled])
    let divided = maker.node("Div", [shifted, number])
    let back = maker.node(
      "Conv", [divided, maker.weight([8, seed < 4 ? 20 : 32, 1, 1], scale: 0.3)])
    try expectAgreement(maker.finish(back, shifted), seed: seed)
  }

  @Test("Arithmetic of shapes that numpy brings together", arguments: 0..<8)
  func broadcasts(seed: Int) throws {
    var maker = GraphMaker(seed: seed)
    let x = maker.input([6, 5, 7])
    let shapes = [
      [7], [5, 1], [6, 1, 7], [1, 5, 7], [6, 1, 1], [1, 1, 1, 1], [5, 7], [1, 6, 5, 1],
    ]
    let y = maker.weight(shapes[seed])
    let operations = ["Add", "Sub", "Mul", "Div"]
    let one = maker.node(operations[seed % 4], seed < 4 ? [x, y] : [y, x])
    let other = maker.node("Sub", [maker.node("ReduceSum", [x, maker.axes([2])]), x])
    try expectAgreement(maker.finish(one, other), seed: seed)
  }

  @Test("Comparisons and what they become as numbers", arguments: 0..<5)
  func comparisons(seed: Int) throws {
    var maker = GraphMaker(seed: seed, opset: 16)
    let x = maker.input([6, 5])
    let names = ["Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"]
    let found = maker.node(names[seed], [x, maker.node("Mul", [x, maker.weight([6, 1])])])
    let all = maker.node(
      "And", [found, maker.node(names[(seed + 1) % 5], [x, maker.weight([5])])])
    let float = maker.node("Cast", [all], ["to": .int(1)])
    let long = maker.node("Cast", [found], ["to": .int(7)])
    try expectAgreement(maker.finish(float, long), seed: seed)
  }

  @Test("Pools over groups of channels, whose windows reach beyond the picture", arguments: 0..<8)
  func pools(seed: Int) throws {
    var maker = GraphMaker(seed: seed)
    let x = maker.input([16, 30, [61, 33, 9, 28][seed % 4]])
    // A convolution brings the picture into groups; 24 channels leave the last one half empty.
    let conv = maker.node("Conv", [x, maker.weight([seed < 4 ? 24 : 32, 16, 1, 1], scale: 0.3)])
    let (kernel, stride) = ([[3, 3], [2, 5], [7, 7], [3, 2]][seed % 4], seed % 3 == 0 ? 2 : 1)
    let pads = seed % 2 == 0 ? [1, 1, 1, 1] : [0, 1, 1, 0]
    let attributes: [String: Attribute] = [
      "kernel_shape": .ints(kernel), "strides": .ints([stride, stride]), "pads": .ints(pads),
    ]
    let largest = maker.node("MaxPool", [conv], attributes)
    let mean = maker.node("AveragePool", [conv], attributes)
    let all = maker.node(
      "AveragePool", [conv], attributes.merging(["count_include_pad": .int(1)]) { $1 })
    try expectAgreement(maker.finish(largest, mean, all), seed: seed)
  }

  @Test("Slices, parts and repetitions", arguments: 0..<6)
  func movements(seed: Int) throws {
    var maker = GraphMaker(seed: seed)
    let x = maker.input([12, 9, 8])
    let (starts, ends, axes, steps) = [
      ([1], [-1], [2], [1]), ([-1], [-100], [1], [-2]), ([2, 0], [100, 5], [-1, 1], [3, 1]),
      ([3], [3], [2], [1]), ([0], [9], [2], [4]), ([5, 1], [0, 7], [1, 3], [-1, 2]),
    ][seed]
    let slice = maker.node(
      "Slice", [x, maker.axes(starts), maker.axes(ends), maker.axes(axes), maker.axes(steps)])
    let parts = maker.nodes("Split", [x, maker.axes([3, 4, 5])], ["axis": .int(1)], count: 3)
    let single = maker.node("ReduceMean", [parts[1]], ["axes": .ints([2])])
    let wide = maker.node("Expand", [single, maker.axes([1, 4, 9, 8])])
    try expectAgreement(maker.finish(slice, parts[0], parts[2], wide), seed: seed)
  }

  @Test("Slices whose rows are no multiple of what lies side by side", arguments: 1...8)
  func oddRows(count: Int) throws {
    var maker = GraphMaker(seed: count)
    let x = maker.input([4, 5, 9])
    let first = maker.node(
      "Slice", [x, maker.axes([0]), maker.axes([count]), maker.axes([3]), maker.axes([1])])
    let last = maker.node(
      "Slice", [x, maker.axes([9 - count]), maker.axes([9]), maker.axes([3]), maker.axes([1])])
    try expectAgreement(maker.finish(first, last), seed: count)
  }

  @Test("Reductions along neighbouring axes", arguments: 0..<8)
  func reductions(seed: Int) throws {
    var maker = GraphMaker(seed: seed, opset: 11)
    let x = maker.input([5, 19, 37])
    let axes = [[1], [2], [3], [1, 2], [2, 3], [-1], [1, 2, 3], [-2]][seed]
    let names = ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin"]
    let results = names.map {
      maker.node($0, [x], ["axes": .ints(axes), "keepdims": .int(seed % 2)])
    }
    maker.graph.outputs = results
    try expectAgreement(maker.graph, seed: seed)
  }

  @Test("Softmax along an axis in the middle", arguments: 0..<4)
  func softmax(seed: Int) throws {
    var maker = GraphMaker(seed: seed)
    let x = maker.input([7, 3, [16, 21, 33, 5][seed]])
    let large = maker.node("Mul", [x, maker.constant([40], [])])
    try expectAgreement(
      maker.finish(maker.node("Softmax", [large], ["axis": .int(1 + seed % 2)])), seed: seed)
  }

  @Test("Images resized in the ways that detectors use", arguments: 0..<6)
  func resizing(seed: Int) throws {
    var maker = GraphMaker(seed: seed)
    let x = maker.input([3, 6, 9])
    let scales = maker.constant([[1, 1, 2, 2], [1, 1, 1.5, 0.7], [1, 1, 3, 1]][seed % 3], [4])
    let none = maker.constant([], [0])
    let attributes: [String: Attribute] =
      switch seed {
      case 0: ["mode": .string("nearest"), "coordinate_transformation_mode": .string("asymmetric")]
      case 1, 2: ["mode": .string("nearest"), "nearest_mode": .string("floor")]
      case 3: ["mode": .string("linear")]
      case 4:
        ["mode": .string("linear"), "coordinate_transformation_mode": .string("align_corners")]
      default: ["mode": .string("cubic")]
      }
    try expectAgreement(
      maker.finish(maker.node("Resize", [x, none, scales], attributes)), seed: seed)
  }

  @Test("Transposed convolutions", arguments: 0..<6)
  func transposedConvolutions(seed: Int) throws {
    var maker = GraphMaker(seed: seed)
    let channels = [16, 8, 24, 3, 32, 20][seed]
    let x = maker.input([channels, 7, 6])
    let outputs = [16, 1, 20, 8, 24, 4][seed]
    let w = maker.weight([channels, outputs, 3, 2], scale: 0.2)
    let y = maker.node(
      "ConvTranspose", seed % 2 == 0 ? [x, w] : [x, w, maker.weight([outputs])],
      [
        "strides": .ints([2, 1 + seed % 2]), "pads": .ints([seed % 2, 0, 1, 1]),
        "output_padding": .ints([seed % 2, 0]),
      ])
    try expectAgreement(maker.finish(maker.node("Relu", [y])), seed: seed)
  }

  @Test("LSTM in both directions, with and without a state before it", arguments: 0..<6)
  func memoryCells(seed: Int) throws {
    var maker = GraphMaker(seed: seed)
    let hidden = [16, 7, 20][seed % 3]
    let directions = seed < 3 ? 1 : 2
    let x = maker.input([9, 12])
    let turned = maker.node("Transpose", [x], ["perm": .ints([1, 0, 2])])
    var inputs: [ValueID] = [
      turned, maker.weight([directions, 4 * hidden, 12], scale: 0.4),
      maker.weight([directions, 4 * hidden, hidden], scale: 0.4),
    ]
    if seed % 2 == 0 { inputs.append(maker.weight([directions, 8 * hidden])) }
    let direction = directions == 2 ? "bidirectional" : seed == 1 ? "reverse" : "forward"
    let y = maker.nodes(
      "LSTM", inputs, ["hidden_size": .int(hidden), "direction": .string(direction)], count: 3)
    // Samples come first again, so that they stay apart.
    let all = maker.node("Transpose", [y[0]], ["perm": .ints([2, 0, 1, 3])])
    let last = maker.node("Transpose", [y[1]], ["perm": .ints([1, 0, 2])])
    let cell = maker.node("Transpose", [y[2]], ["perm": .ints([1, 0, 2])])
    try expectAgreement(maker.finish(all, last, cell), seed: seed)
  }

  @Test("GRU in both directions, in both of its forms", arguments: 0..<8)
  func gatedUnits(seed: Int) throws {
    var maker = GraphMaker(seed: seed)
    let hidden = [16, 7, 20, 33][seed % 4]
    let directions = seed < 4 ? 1 : 2
    let x = maker.input([9, 12])
    let turned = maker.node("Transpose", [x], ["perm": .ints([1, 0, 2])])
    var inputs: [ValueID] = [
      turned, maker.weight([directions, 3 * hidden, 12], scale: 0.4),
      maker.weight([directions, 3 * hidden, hidden], scale: 0.4),
    ]
    if seed % 3 != 0 { inputs.append(maker.weight([directions, 6 * hidden])) }
    let direction = directions == 2 ? "bidirectional" : seed == 1 ? "reverse" : "forward"
    let y = maker.nodes(
      "GRU", inputs,
      [
        "hidden_size": .int(hidden), "direction": .string(direction),
        "linear_before_reset": .int(seed / 2 % 2),
      ], count: 2)
    let all = maker.node("Transpose", [y[0]], ["perm": .ints([2, 0, 1, 3])])
    let last = maker.node("Transpose", [y[1]], ["perm": .ints([1, 0, 2])])
    try expectAgreement(maker.finish(all, last), seed: seed)
  }

  @Test("Two units share the work and change no bit", arguments: 0..<2)
  func units(kind: Int) throws {
    var maker = GraphMaker(seed: kind)
    let x = maker.input([5, 40, 24])
    let soft = maker.node("Softmax", [x], ["axis": .int(2)])
    let sum = maker.node("Add", [soft, maker.weight([40, 1])])
    let part = maker.node("Slice", [sum, maker.axes([3]), maker.axes([33]), maker.axes([2])])
    let keys = maker.node("Transpose", [part], ["perm": .ints([0, 1, 3, 2])])
    let scores = maker.node("Softmax", [maker.node("MatMul", [part, keys])], ["axis": .int(-1)])
    let mixed = maker.node("MatMul", [scores, part])
    let graph = maker.finish(maker.node("ReduceMean", [mixed], ["axes": .ints([2])]), mixed)
    var random = Seeded(kind)
    let input = random.tensor([3, 5, 40, 24])
    let one = try runOnCPU(graph, [input], parts: [3]).map(elements)
    let two = try runOnCPU(graph, [input], parts: [3], units: 2).map(elements)
    #expect(one == two)
  }

  @Test("Powers of e from the smallest to the largest")
  func powers() {
    for step in -1000...1000 {
      let x = Float(step) * 0.088
      let power = VectorMath.exp(SIMD16(repeating: x))[7]
      let right = Float(exp(Double(x)))
      #expect(x < -87.3 ? power == 0 : abs(power - right) <= 3e-7 * right)
    }
    #expect(VectorMath.exp(SIMD16(repeating: -.infinity))[0] == 0)
    #expect(VectorMath.exp(SIMD16(repeating: .nan))[0].isNaN)
    #expect(VectorMath.tanh(SIMD16(repeating: 100))[0] == 1)
    #expect(VectorMath.sigmoid(SIMD16(repeating: -100))[0] < 1e-38)
  }
}

extension GraphMaker {
  mutating func axes(_ values: [Int]) -> ValueID {
    graph.values.append(
      Value(
        name: "i\(graph.values.count)", type: .int64, shape: [.fixed(values.count)],
        constant: .integers(values, [values.count])))
    return ValueID(graph.values.count - 1)
  }

  /// A node with several outputs.
  mutating func nodes(
    _ operation: String, _ inputs: [ValueID], _ attributes: [String: Attribute], count: Int
  ) -> [ValueID] {
    let first = node(operation, inputs, attributes)
    var outputs = [first]
    for _ in 1..<count {
      graph.values.append(Value(name: "v\(graph.values.count)"))
      outputs.append(ValueID(graph.values.count - 1))
    }
    graph.nodes[graph.nodes.count - 1].outputs = outputs
    return outputs
  }
}
