import Compiler
import Models
import Testing
import Vocabulary

@testable import CPUBackend

@Suite("What is fused into convolutions and products, against Reference")
struct FusedTests {
  @Test("Activations of two steps and lines after them", arguments: 0..<12)
  func lines(seed: Int) throws {
    var maker = GraphMaker(seed: seed, opset: 14)
    let channels = [20, 32, 8][seed % 3]
    let x = maker.input([16, 9, 8])
    let w = maker.weight([channels, 16, 3, 3], scale: 0.1)
    let conv = maker.node("Conv", [x, w, maker.weight([channels])], ["pads": .ints([1, 1, 1, 1])])
    let names = ["HardSigmoid", "HardSwish", "Relu", "Sigmoid"]
    var y = maker.node(
      names[seed % 4], [conv],
      seed % 4 == 0 ? ["alpha": .float(0.3), "beta": .float(0.4)] : [:])
    y = maker.node(
      "Mul", seed % 2 == 0 ? [y, maker.constant([0.7], [])] : [maker.constant([-3], [1]), y])
    y = maker.node(
      seed < 6 ? "Add" : "Sub",
      seed % 5 == 0 ? [maker.constant([2], []), y] : [y, maker.constant([0.3], [1])])
    // Something must read the padding of the last group of channels.
    let next = maker.node("Conv", [y, maker.weight([24, channels, 1, 1], scale: 0.3)])
    let root = maker.node("Sigmoid", [next])
    let mean = maker.node("GlobalAveragePool", [y])
    try expectAgreement(seed < 8 ? maker.finish(root, mean) : maker.finish(root), seed: seed)
  }

  @Test("Lines after products", arguments: 0..<4)
  func products(seed: Int) throws {
    var maker = GraphMaker(seed: seed, opset: 14)
    let x = maker.input([6, 20])
    let product = maker.node("MatMul", [x, maker.weight([20, 12], scale: 0.3)])
    let biased = maker.node("Add", [product, maker.weight([12])])
    let cut = seed % 2 == 0 ? biased : maker.node("HardSigmoid", [biased])
    let scaled = maker.node("Mul", [cut, maker.constant([0.25], [])])
    let shifted = maker.node("Add", [scaled, maker.constant([-1.5], [1])])
    // A number of more dimensions makes another shape of it.
    let last =
      seed < 2 ? shifted : maker.node("Mul", [shifted, maker.constant([2], [1, 1, 1, 1])])
    try expectAgreement(maker.finish(last), seed: seed)
  }

  @Test("Transposed convolutions whose windows do not overlap", arguments: 0..<12)
  func interleaved(seed: Int) throws {
    var maker = GraphMaker(seed: seed, opset: 14)
    let channels = [24, 1, 32, 16, 5, 17][seed % 6]
    let (rows, columns) = [(2, 2), (3, 2), (1, 4)][seed % 3]
    let x = maker.input([20, 5, 6])
    let before = maker.node("Conv", [x, maker.weight([24, 20, 1, 1], scale: 0.3)])
    let w = maker.weight([24, channels, rows, columns], scale: 0.3)
    let spread = maker.node(
      "ConvTranspose", seed % 2 == 0 ? [before, w] : [before, w, maker.weight([channels])],
      ["strides": .ints([rows, columns])])
    let moved = maker.node("Add", [spread, maker.weight([channels, 1, 1])])
    let scaled = maker.node("Mul", [moved, maker.weight([1, channels, 1, 1])])
    let cut = maker.node(["Relu", "Sigmoid", "HardSwish"][seed / 2 % 3], [scaled])
    let next = maker.node("Conv", [cut, maker.weight([8, channels, 1, 1], scale: 0.3)])
    try expectAgreement(seed < 6 ? maker.finish(next, cut) : maker.finish(next), seed: seed)
  }

  /// Lines, pictures and volumes as they come, and pictures whose channels lie in groups.
  @Test("Resizing of every number of axes, in every layout", arguments: 0..<12)
  func resizing(seed: Int) throws {
    var maker = GraphMaker(seed: seed, opset: 13)
    let shape = [[20, 6], [20, 5, 6], [17, 5, 6], [3, 2, 5, 6]][seed % 4]
    let mode = ["nearest", "linear", "cubic"][seed / 4]
    var x = maker.input(shape)
    if shape.count == 3 {
      x = maker.node("Conv", [x, maker.weight([shape[0], shape[0], 1, 1], scale: 0.3)])
    }
    let scales = [Float](repeating: 1, count: shape.count - 1) + [seed % 4 == 0 ? 1 : 1.5, 2]
    let y = maker.node(
      "Resize", [x, maker.constant([], [0]), maker.constant(scales, [scales.count])],
      ["mode": .string(mode), "nearest_mode": .string("floor")])
    try expectAgreement(maker.finish(y), seed: seed)
  }

  /// As detectors of text end, on whole vectors of pixels and on what is left of a row.
  @Test("Transposed convolutions to one channel", arguments: 0..<6)
  func oneOutput(seed: Int) throws {
    var maker = GraphMaker(seed: seed, opset: 14)
    let (channels, rows) = ([20, 32, 7][seed % 3], 1 + seed % 2)
    let x = maker.input([channels, 3, [6, 16, 21, 33, 48, 1][seed]])
    let w = maker.weight([channels, 1, rows, 2], scale: 0.3)
    let spread = maker.node(
      "ConvTranspose", seed < 3 ? [x, w] : [x, w, maker.weight([1])], ["strides": .ints([rows, 2])])
    try expectAgreement(maker.finish(maker.node("Sigmoid", [spread])), seed: seed)
  }

  @Test("Transposed convolutions whose windows overlap, with what follows", arguments: 0..<6)
  func overlapping(seed: Int) throws {
    var maker = GraphMaker(seed: seed, opset: 14)
    let channels = [24, 16, 3][seed % 3]
    let x = maker.input([16, 5, 6])
    let spread = maker.node(
      "ConvTranspose", [x, maker.weight([16, channels, 3, 3], scale: 0.3)],
      ["strides": .ints([2, 2]), "pads": .ints([1, 0, 1, 1]), "output_padding": .ints([1, 0])])
    let normal = maker.node(
      "BatchNormalization",
      [
        spread, maker.weight([channels]), maker.weight([channels]), maker.weight([channels]),
        maker.constant(maker.random.floats(channels).map { 0.5 + abs($0) }, [channels]),
      ])
    let cut = maker.node(seed < 3 ? "Relu" : "Sigmoid", [normal])
    try expectAgreement(maker.finish(cut), seed: seed)
  }

  @Test("Convolutions of one column, and pools over planes of any layout", arguments: 0..<8)
  func columns(seed: Int) throws {
    var maker = GraphMaker(seed: seed, opset: 14)
    let x = maker.input([16, 40, 1])
    let (groups, channels) = [(1, 32), (1, 20), (16, 16), (4, 8)][seed % 4]
    let w = maker.weight([channels, 16 / groups, 5, 1], scale: 0.2)
    let conv = maker.node(
      "Conv", seed % 3 == 0 ? [x, w] : [x, w, maker.weight([channels])],
      [
        "group": .int(groups), "pads": .ints([seed % 2, 0, 1, 0]),
        "strides": .ints([1 + seed % 2, 1]),
      ])
    let largest = maker.node(
      "GlobalMaxPool", [maker.node("Transpose", [conv], ["perm": .ints([0, 1, 3, 2])])])
    let mean = maker.node("GlobalAveragePool", [x])
    try expectAgreement(maker.finish(conv, largest, mean), seed: seed)
  }
}
