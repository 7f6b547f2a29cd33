import Backend
import Compiler
import Models
import Reference
import Testing
import Vocabulary

@testable import CPUBackend

/// Where the processor has none of these units the same graphs run on oneDNN's kernels.
@Suite("Convolutions and products on matrix units")
struct MatrixUnitTests {
  /// Kernels, steps, gaps and borders of many kinds, channels that fill no tile or several.
  @Test("Convolutions of pictures", arguments: 0..<48)
  func pictures(seed: Int) throws {
    var random = Seeded(seed + 40)
    func pick(_ choices: [Int]) -> Int {
      let place = (random.floats(1)[0] + 1) / 2 * Float(choices.count)
      return choices[min(Int(place), choices.count - 1)]
    }
    var maker = GraphMaker(seed: seed)
    let groups = seed % 6 == 5 ? 2 : 1
    let inputs = groups * (groups > 1 ? pick([16, 48]) : pick([16, 17, 24, 32, 33, 64, 80]))
    let outputs = groups * (groups > 1 ? pick([16, 32]) : pick([8, 15, 16, 40, 64]))
    let window = [pick([1, 1, 2, 3]), pick([1, 3, 5])]
    let pads = [pick([0, 1]), pick([0, 1, 2]), pick([0, 1, 2]), pick([0, 1])]
    let x = maker.input([inputs, pick([7, 9, 21]), pick([10, 14, 17])])
    let w = maker.weight([outputs, inputs / groups] + window, scale: 0.1)
    let a = maker.node(
      "Conv", seed % 3 == 0 ? [x, w] : [x, w, maker.weight([outputs])],
      [
        "group": .int(groups), "pads": .ints(pads),
        "strides": .ints([pick([1, 2]), pick([1, 2])]),
        "dilations": .ints([pick([1, 2]), pick([1, 1, 2])]),
      ])
    // What a block of channels is filled with stays zero for those who read it.
    let next = maker.node("Conv", [a, maker.weight([16, outputs, 1, 1], scale: 0.1)])
    try expectAgreement(maker.finish(next, a), seed: seed)
  }

  @Test("Convolutions of lines", arguments: 0..<6)
  func lines(seed: Int) throws {
    var maker = GraphMaker(seed: seed)
    let x = maker.input([20, 40 + seed])
    let a = maker.node(
      "Conv", [x, maker.weight([24, 20, 1 + seed], scale: 0.1)],
      ["pads": .ints([seed / 2, seed / 3]), "strides": .ints([1 + seed % 2])])
    try expectAgreement(maker.finish(maker.node("Relu", [a])), seed: seed)
  }

  /// Pictures and lines so small that results of several samples lie in one tile.
  @Test("Samples share tiles", arguments: 0..<24)
  func shared(seed: Int) throws {
    var maker = GraphMaker(seed: seed)
    let inputs = [16, 17, 24, 40][seed % 4]
    let step = 1 + seed / 4 % 2
    let (sizes, window) =
      seed % 3 == 0 ? ([1 + seed % 5, 2 + seed % 4], [3, 3]) : ([1 + seed % 7], [3])
    let x = maker.input([inputs] + sizes)
    let a = maker.node(
      "Conv", [x, maker.weight([20, inputs] + window, scale: 0.1), maker.weight([20])],
      [
        "pads": .ints(Array(repeating: 1 + seed / 8 % 2, count: 2 * window.count)),
        "strides": .ints(Array(repeating: step, count: window.count)),
      ])
    try expectAgreement(maker.finish(maker.node("Relu", [a])), seed: seed)
  }

  /// What spectra of sound are made with.
  @Test("Long windows of one channel", arguments: 0..<6)
  func longWindows(seed: Int) throws {
    var maker = GraphMaker(seed: seed)
    let (length, window) = (300 + 17 * seed, [64, 86, 90, 128, 200, 256][seed])
    let x = maker.input(seed % 2 == 0 ? [1, length] : [1, 3, length])
    let a = maker.node(
      "Conv", [x, maker.weight([18, 1] + (seed % 2 == 0 ? [window] : [2, window]), scale: 0.1)],
      seed % 2 == 0
        ? ["pads": .ints([seed, 2 * seed]), "strides": .ints([1 + 9 * seed])]
        : ["pads": .ints([1, seed, 0, 3]), "strides": .ints([1, 1 + seed])])
    try expectAgreement(maker.finish(a), seed: seed)
  }

  /// What the first layers of most networks have.
  @Test("Wide windows of few channels", arguments: 0..<12)
  func fewChannels(seed: Int) throws {
    var maker = GraphMaker(seed: seed)
    let (channels, step) = (2 + seed % 3, 1 + seed / 3 % 3)
    let x = maker.input([channels, 13 + seed, 17 + 5 * seed])
    let window = [1 + seed % 7, channels == 2 ? 15 : 7]
    let a = maker.node(
      "Conv", [x, maker.weight([20, channels] + window, scale: 0.1), maker.weight([20])],
      ["pads": .ints([3, 2, 1, 3]), "strides": .ints([step, step])])
    try expectAgreement(maker.finish(maker.node("Relu", [a])), seed: seed)
  }

  /// Every function that the kernel knows, with and without a residual, and one it does not know.
  @Test("What follows the sums", arguments: 0..<20)
  func functions(seed: Int) throws {
    var maker = GraphMaker(seed: seed, opset: 20)
    let x = maker.input([32, 9, 7])
    let channels = seed % 2 == 0 ? 32 : 20
    let w = maker.weight([channels, 32, 3, 3], scale: 0.3)
    let pads: [String: Attribute] = ["pads": .ints([1, 1, 1, 1])]
    var y = maker.node("Conv", [x, w, maker.weight([channels])], pads)
    if seed % 4 == 0 { y = maker.node("Add", [y, x]) }
    let names = [
      "Relu", "LeakyRelu", "HardSwish", "HardSigmoid", "Sigmoid", "Gelu", "GeluTanh", "Silu",
      "Clip", "Mish",
    ]
    let name = names[seed / 2]
    let result =
      switch name {
      case "Silu": maker.node("Mul", [y, maker.node("Sigmoid", [y])])
      case "GeluTanh": maker.node("Gelu", [y], ["approximate": .string("tanh")])
      case "Clip":
        maker.node("Clip", [y, maker.constant([-0.5], []), maker.constant([1.5], [])])
      default: maker.node(name, [y])
      }
    try expectAgreement(maker.finish(result), seed: seed)
  }

  @Test("Products of rows", arguments: 0..<12)
  func products(seed: Int) throws {
    var maker = GraphMaker(seed: seed)
    let (inner, columns) = (
      [16, 31, 64, 100, 384, 1000][seed % 6], [8, 16, 33, 96, 100][seed % 5]
    )
    let x = maker.input(seed % 2 == 0 ? [inner] : [13, inner])
    let w = maker.weight([inner, columns], scale: 0.1)
    var y = maker.node("MatMul", [x, w])
    y = maker.node("Add", [y, maker.weight([columns])])
    let other = maker.node("MatMul", [x, maker.weight([inner, columns], scale: 0.1)])
    try expectAgreement(
      maker.finish(maker.node("Relu", [maker.node("Add", [y, other])])), seed: seed)
  }

  @Test("A sample has the same bits in every batch and on every number of units")
  func bits() throws {
    var maker = GraphMaker(seed: 3)
    let pads: [String: Attribute] = ["pads": .ints([1, 1, 1, 1])]
    let x = maker.input([32, 19, 23])
    let a = maker.node("Relu", [maker.node("Conv", [x, maker.weight([64, 32, 3, 3])], pads)])
    let b = maker.node("Conv", [a, maker.weight([300, 64, 1, 1], scale: 0.1)])
    let c = maker.node("GlobalAveragePool", [b])
    let d = maker.node("MatMul", [maker.node("Flatten", [c]), maker.weight([300, 70])])
    let graph = maker.finish(d, b)
    var random = Seeded(8)
    let inputs = random.inputs(of: graph, samples: 5)
    let one = try runOnCPU(graph, inputs, parts: [5]).map(elements)
    for (parts, units) in [([1, 1, 1, 1, 1], 1), ([4, 1], 2), ([2, 3], 2), ([5], 2)] {
      let others = try runOnCPU(graph, inputs, parts: parts, units: units).map(elements)
      #expect(others == one, "parts \(parts), units \(units)")
    }
  }

  /// Each number is the sum of two of 8 significant bits, to 2^-18 of it, and the product of the
  /// two lower ones is left out: 3 × 2^-18 of a product at most, besides the rounding of sums.
  @Test("How far sums may be off")
  func bound() throws {
    var random = Seeded(21)
    let (rows, inner, columns) = (40, 300, 48)
    let (a, b) = (random.floats(rows * inner), random.floats(inner * columns))
    var maker = GraphMaker(seed: 1)
    let x = maker.input([inner])
    let graph = maker.finish(maker.node("MatMul", [x, maker.constant(b, [inner, columns])]))
    let input = Tensor.make(.float32, [rows, inner], as: Float.self) { elements in
      for index in elements.indices { elements[index] = a[index] }
    }
    let answer = elements(try runOnCPU(graph, [input], parts: [rows])[0])
    for row in 0..<rows {
      for column in 0..<columns {
        let products = (0..<inner).map {
          Double(a[row * inner + $0]) * Double(b[$0 * columns + column])
        }
        let error = abs(Double(answer[row * columns + column]) - products.reduce(0, +))
        let size = products.reduce(0) { $0 + abs($1) }
        #expect(error <= size * (3 / 262_144 + Double(inner) / 16_777_216))
      }
    }
  }

  @Test(
    "What is not a number stays so, and in its sample", arguments: [0x7FC0_0000, 0xFFFF_FFFF],
    [[5, 5], [1, 4], [2, 1]])
  func notNumbers(bits: UInt32, sizes: [Int]) throws {
    var maker = GraphMaker(seed: 2)
    let x = maker.input([17] + sizes)
    let pads: [String: Attribute] = ["pads": .ints([1, 1, 1, 1])]
    let graph = maker.finish(maker.node("Conv", [x, maker.weight([16, 17, 3, 3])], pads))
    var random = Seeded(2)
    let inputs = random.inputs(of: graph, samples: 3)
    let clean = elements(try runOnCPU(graph, inputs, parts: [3])[0])
    inputs[0].storage.base.storeBytes(
      of: bits, toByteOffset: 17 * sizes[0] * sizes[1] * 4, as: UInt32.self)
    let answer = elements(try runOnCPU(graph, inputs, parts: [3])[0])
    let each = 16 * sizes[0] * sizes[1]
    #expect(answer[..<each] == clean[..<each] && answer[(2 * each)...] == clean[(2 * each)...])
    #expect(answer[each..<2 * each].contains { $0.isNaN })
  }

  @Test(
    "They are used where they are and may be", .enabled(if: Processor.hasMatrixUnits),
    arguments: [(32, 3), (3, 7), (4, 5), (1, 64)])
  func choice(channels: Int, width: Int) throws {
    var maker = GraphMaker(seed: 4)
    let x = maker.input([channels, 8, 80])
    let graph = maker.finish(maker.node("Conv", [x, maker.weight([32, channels, 3, width])]))
    for families in [KernelFamilies.all, .minimalFiltering] {
      let model = try CPUModel(
        Compiler.compile(graph), options: LoadOptions(maximumBatch: 1, units: [1]),
        families: families, memory: MemoryPool())
      let plan = try model.plan(samples: 1, inputShapes: [[1, channels, 8, 80]], units: 1)
      let isUsed = plan.steps.contains { $0.kernel is MatrixUnitKernel }
      #expect(isUsed == families.contains(.matrixUnits))
    }
  }
}
