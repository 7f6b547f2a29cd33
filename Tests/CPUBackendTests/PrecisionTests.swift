import Backend
import Compiler
import Models
import Reference
import Testing
import Vocabulary

@testable import CPUBackend

/// Whether this processor has instructions for BF16.
private let hasBFloat16 = CPUBackend().refusal(of: .bfloat16) == nil

/// Runs a graph in BF16, the samples in parts of the given sizes.
private func run(
  _ graph: Graph, _ inputs: [Tensor], parts: [Int], units: Int = 1
) throws -> (outputs: [Tensor], weights: Int, activations: Int) {
  let program = try Compiler.compile(graph)
  let samples = parts.reduce(0, +)
  let model = try CPUBackend(computeUnits: 2).load(
    program, options: LoadOptions(maximumBatch: 4, units: [1, 2], precision: .bfloat16))
  let workspace = try model.makeWorkspace(samples: samples, inputShapes: inputs.map(\.shape))
  for (index, tensor) in inputs.enumerated() {
    workspace.setInput(index, samples: 0..<samples, to: tensor)
  }
  var first = 0
  for part in parts {
    // Layer by layer, so that everything crosses a border.
    for layer in program.layers.indices {
      try model.run(
        layer..<layer + 1, samples: first..<first + part, in: workspace, units: units)
    }
    first += part
  }
  return (
    graph.outputs.indices.map { workspace.output($0, samples: 0..<samples) },
    model.layers.reduce(0) { $0 + $1.weights.bytes },
    model.layers.dropLast().reduce(0) { $0 + $1.activations.bytes }
  )
}

/// A small network of one of several kinds.
private func network(_ kind: Int) -> Graph {
  var maker = GraphMaker(seed: kind)
  let x = maker.input([[3, 20, 20], [32, 14, 14], [24, 9, 7], [40]][kind % 4])
  func scale(_ inputs: Int) -> Float { (2 / Float(inputs)).squareRoot() }
  let pads: [String: Attribute] = ["pads": .ints([1, 1, 1, 1])]
  switch kind {
  case 0:  // a first convolution, a pool, joined branches
    let a = maker.node(
      "Relu", [maker.node("Conv", [x, maker.weight([32, 3, 3, 3], scale: scale(27))], pads)])
    let b = maker.node("Conv", [a, maker.weight([48, 32, 1, 1], scale: scale(32))])
    let c = maker.node("Conv", [a, maker.weight([16, 32, 3, 3], scale: scale(288))], pads)
    let joined = maker.node("Relu", [maker.node("Concat", [b, c], ["axis": .int(1)])])
    let pool = maker.node(
      "MaxPool", [joined], ["kernel_shape": .ints([2, 2]), "strides": .ints([2, 2])])
    return maker.finish(maker.node("GlobalAveragePool", [pool]))
  case 1:  // a residual, one reader of which comes later
    let a = maker.node("Conv", [x, maker.weight([32, 32, 3, 3], scale: scale(288))], pads)
    let b = maker.node(
      "Conv", [maker.node("Relu", [a]), maker.weight([32, 32, 3, 3], scale: scale(288))], pads)
    let sum = maker.node("Relu", [maker.node("Add", [b, a])])
    return maker.finish(sum, maker.node("Mul", [sum, a]))
  case 2:  // groups that fill no vector, one channel a group, an operator without a kernel
    let a = maker.node(
      "Conv", [x, maker.weight([24, 8, 1, 1], scale: scale(8))], ["group": .int(3)])
    let b = maker.node(
      "Conv", [a, maker.weight([24, 1, 3, 3], scale: scale(9))],
      ["group": .int(24), "pads": .ints([1, 1, 1, 1])])
    let c = maker.node("Transpose", [b], ["perm": .ints([0, 2, 3, 1])])
    return maker.finish(maker.node("Softsign", [c]))
  case 4, 5:  // transposed convolutions: windows side by side, one channel, windows that overlap
    let size = kind == 4 ? 2 : 3
    let channels = kind == 4 ? 3 : 32
    let strides: [String: Attribute] = ["strides": .ints([2, 2])]
    let a = maker.node(
      "ConvTranspose", [x, maker.weight([channels, 24, size, size], scale: scale(channels))],
      strides)
    let b = maker.node(
      "Conv", [maker.node("Relu", [a]), maker.weight([32, 24, 1, 1], scale: 0.3)])
    let c = maker.node(
      "ConvTranspose", [b, maker.weight([32, 1, 2, 2], scale: scale(32))], strides)
    let d = maker.node("Sigmoid", [c])
    // Windows that overlap are computed in FP32.
    return kind == 4 ? maker.finish(d, maker.node("GlobalAveragePool", [a])) : maker.finish(d)
  case 6:  // pools with borders and normalisations, of channels that fill no vector and that do
    let a = maker.node("Conv", [x, maker.weight([20, 24, 1, 1], scale: scale(24))])
    let pool: [String: Attribute] = [
      "kernel_shape": .ints([3, 3]), "strides": .ints([2, 1]), "pads": .ints([1, 1, 1, 1]),
    ]
    let b = normalised(maker.node("MaxPool", [a], pool), 20, &maker)
    let c = maker.node("Conv", [b, maker.weight([32, 20, 1, 1], scale: scale(20))])
    let d = maker.node("MaxPool", [c], pool)
    let e = maker.node("LRN", [d], ["size": .int(5), "alpha": .float(0.5)])
    return maker.finish(
      maker.node("Relu", [normalised(e, 32, &maker)]),
      maker.node("LRN", [a], ["size": .int(3), "bias": .float(2)]))
  case 8, 9: return pixelByPixel(x, isDeep: kind == 9, &maker)
  default:  // products, a softmax and a product of two activations
    let a = maker.node("MatMul", [x, maker.weight([40, 64], scale: scale(40))])
    let b = maker.node("Reshape", [a, maker.integers([0, 8, 8])])
    let c = maker.node("Softmax", [b], ["axis": .int(-1)])
    return maker.finish(maker.node("MatMul", [c, b]))
  }
}

/// Windows over each channel between products for each pixel, one of which has a residual.
private func pixelByPixel(_ x: ValueID, isDeep: Bool, _ maker: inout GraphMaker) -> Graph {
  func spread(_ inputs: Int) -> Float { (2 / Float(inputs)).squareRoot() }
  let input = isDeep ? 32 : 3
  let a = maker.node(
    "HardSwish", [maker.node("Conv", [x, maker.weight([40, input, 1, 1], scale: spread(input))])])
  let size = isDeep ? 3 : 5
  let window: [String: Attribute] = [
    "group": .int(40), "pads": .ints([Int](repeating: size / 2, count: 4)),
  ]
  let b = maker.node(
    "HardSwish",
    [
      maker.node(
        "Conv", [a, maker.weight([40, 1, size, size], scale: spread(size * size))], window)
    ])
  let c = maker.node(
    "Conv", [b, maker.weight([40, 40, 1, 1], scale: spread(40)), maker.weight([40])])
  let sum = maker.node("Add", [c, a])
  let d = maker.node("Mul", [sum, maker.node("Sigmoid", [sum])])
  return maker.finish(
    maker.node("Conv", [d, maker.weight([200, 40, 1, 1], scale: spread(40))]))
}

/// A value scaled and shifted channel by channel.
private func normalised(_ x: ValueID, _ channels: Int, _ maker: inout GraphMaker) -> ValueID {
  let spread = maker.constant(
    maker.random.floats(channels).map { 0.5 + abs($0) }, [channels])
  let factors = (0..<3).map { _ in maker.weight([channels]) }
  return maker.node("BatchNormalization", [x] + factors + [spread])
}

@Suite("Reduced precision")
struct PrecisionTests {
  @Test(
    "BF16 is near Reference, and not FP32 under another name",
    .enabled(if: hasBFloat16), arguments: [0, 1, 2, 3, 4, 5, 6, 8, 9])
  func near(kind: Int) throws {
    let graph = network(kind)
    var random = Seeded(kind + 100)
    let inputs = random.inputs(of: graph, samples: 3)
    let expected = try Interpreter.run(graph, inputs: inputs)
    let answers = try run(graph, inputs, parts: [3]).outputs
    for (right, answer) in zip(expected, answers) {
      #expect(right.shape == answer.shape)
      let (a, b) = (elements(right), elements(answer))
      let largest = a.reduce(0) { max($0, abs($1)) }
      let error = zip(a, b).reduce(0) { max($0, abs($1.0 - $1.1)) } / largest
      #expect(error < 0.03)
      #expect(error > 1e-5)
    }
  }

  @Test(
    "The same sample has the same bits in every batch and on every number of units",
    .enabled(if: hasBFloat16), arguments: [0, 1, 2, 3, 4, 5, 6, 8, 9])
  func bits(kind: Int) throws {
    let graph = network(kind)
    var random = Seeded(kind + 200)
    let inputs = random.inputs(of: graph, samples: 7)
    let whole = try run(graph, inputs, parts: [7]).outputs.map(elements)
    for (parts, units) in [([1, 1, 1, 1, 1, 1, 1], 1), ([4, 3], 2), ([2, 1, 4], 1)] {
      let answers = try run(graph, inputs, parts: parts, units: units).outputs.map(elements)
      #expect(answers == whole, "parts \(parts), units \(units)")
    }
  }

  @Test("Weights and activations take half the memory", .enabled(if: hasBFloat16))
  func memory() throws {
    let graph = network(1)
    var random = Seeded(7)
    let inputs = random.inputs(of: graph, samples: 1)
    let reduced = try run(graph, inputs, parts: [1])
    let exact = try CPUBackend(families: .matrixUnits).load(
      Compiler.compile(graph), options: LoadOptions(maximumBatch: 1, units: [1]))
    let weights = exact.layers.reduce(0) { $0 + $1.weights.bytes }
    let activations = exact.layers.dropLast().reduce(0) { $0 + $1.activations.bytes }
    // Biases stay FP32; an output is told in FP32.
    #expect(Double(reduced.weights) < 0.51 * Double(weights))
    #expect(Double(reduced.activations) < 0.67 * Double(activations))
  }

  @Test("Where the processor has no BF16, a sentence says what to do", .enabled(if: !hasBFloat16))
  func refusal() throws {
    let program = try Compiler.compile(network(0))
    #expect {
      try CPUBackend().load(
        program, options: LoadOptions(maximumBatch: 1, units: [1], precision: .bfloat16))
    } throws: {
      "\($0)".contains("--precision fp32")
    }
  }
}
