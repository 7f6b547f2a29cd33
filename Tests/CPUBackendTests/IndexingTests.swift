import Compiler
import Models
import Testing
import Vocabulary

@testable import CPUBackend

@Suite("Kernels of indices, lines and functions against Reference")
struct IndexingTests {
  @Test("Padding of every kind", arguments: 0..<16)
  func pads(seed: Int) throws {
    var maker = GraphMaker(seed: seed, opset: 18)
    let x = maker.input([4, 6, 7])
    let mode = ["constant", "reflect", "edge", "wrap"][seed % 4]
    let amounts = [
      [0, 0, 1, 2, 0, 0, 2, 3], [0, 1, 0, 0, 0, 2, 0, 5], [0, 0, 3, -1, 0, 0, -2, 4],
      [0, -1, 0, 0, 0, 0, 0, 6],
    ][seed / 4]
    let y =
      mode == "constant" && seed > 4
      ? maker.node(
        "Pad", [x, maker.axes(amounts), maker.constant([0.5], [])], ["mode": .string(mode)])
      : maker.node("Pad", [x, maker.axes(amounts)], ["mode": .string(mode)])
    try expectAgreement(maker.finish(y), seed: seed)
  }

  @Test("Products with ones and zeros pick rows", arguments: 0..<4)
  func oneHots(seed: Int) throws {
    var maker = GraphMaker(seed: seed)
    // Some numbers are below 0, some above 5.
    let x = maker.node("Mul", [maker.input([7]), maker.constant([9], [])])
    let number = maker.node("Cast", [x], ["to": .int(seed % 2 == 0 ? 6 : 7)])
    let counted = maker.node("Unsqueeze", [number, maker.axes([2])])
    let counts = maker.node(
      "Cast", [maker.constant([0, 1, 2, 3, 4, 5], [1, 1, 6])],
      ["to": .int(seed % 2 == 0 ? 6 : 7)])
    let isOne = maker.node("Equal", seed < 2 ? [counted, counts] : [counts, counted])
    let ones = maker.node("Cast", [isOne], ["to": .int(1)])
    let product = maker.node("MatMul", [ones, maker.weight([6, 5])])
    let shifted = maker.node("Sub", [maker.weight([1, 1, 5]), product])
    let curved = maker.node("Tanh", [shifted])
    let graph = maker.finish(maker.node("Mul", [curved, curved]))
    try expectAgreement(graph, seed: seed)
    let operations = try Compiler.compile(graph).graph.nodes.map(\.operation)
    #expect(operations.contains("PickRows") && !operations.contains("MatMul"))
    let plain = CompileOptions(passes: CompileOptions.Passes.all.subtracting(.oneHots))
    let kept = try Compiler.compile(graph, options: plain).graph.nodes.map(\.operation)
    #expect(!kept.contains("PickRows"))
  }

  @Test("Parts by index, chosen by the file and by the request", arguments: 0..<6)
  func gathers(seed: Int) throws {
    var maker = GraphMaker(seed: seed, opset: 16)
    let x = maker.input([6, 5])
    let axis = 1 + seed % 2
    let some = maker.node("Gather", [x, maker.axes([1, -2, 0, 1])], ["axis": .int(axis)])
    let best = maker.node(
      seed < 3 ? "ArgMax" : "ArgMin", [x],
      [
        "axis": .int(2), "keepdims": .int(seed % 2),
        "select_last_index": .int(seed % 3 == 0 ? 1 : 0),
      ])
    let table = maker.weight([5, 9])
    let words = maker.node("Gather", [table, best])
    try expectAgreement(maker.finish(some, words, best), seed: seed)
  }

  @Test("Running sums, repetitions and choices", arguments: 0..<8)
  func lines(seed: Int) throws {
    var maker = GraphMaker(seed: seed, opset: 16)
    let x = maker.input([6, 5])
    let axis = maker.axes([[1, 2, -1, -2][seed % 4]])
    let sum = maker.node(
      "CumSum", [x, axis], ["exclusive": .int(seed % 2), "reverse": .int(seed / 2 % 2)])
    let tiled = maker.node(
      "Tile", [sum, maker.axes([[1, 2, 1], [1, 1, 3], [1, 2, 2]][seed % 3])])
    let condition = maker.node(
      "Greater", [x, maker.weight([[1], [5], [6, 1], [6, 5]][seed % 4])])
    let chosen = maker.node(
      "Where",
      seed < 4
        ? [condition, x, maker.constant([-7], [])] : [condition, maker.weight([6, 1]), sum])
    let opposite = maker.node(
      "Cast", [maker.node("Not", [condition])], ["to": .int(1)])
    try expectAgreement(maker.finish(tiled, chosen, opposite), seed: seed)
  }

  @Test("The largest and the smallest with their places", arguments: 0..<6)
  func largest(seed: Int) throws {
    var maker = GraphMaker(seed: seed, opset: 16)
    let x = maker.input([6, 9])
    // Rounded, so that some are equal.
    let rounded = maker.node("Round", [maker.node("Mul", [x, maker.constant([3], [])])])
    let outputs = maker.nodes(
      "TopK", [rounded, maker.axes([[3, 6, 1][seed % 3]])],
      ["axis": .int(seed % 2 == 0 ? -1 : 1), "largest": .int(seed < 3 ? 1 : 0)], count: 2)
    maker.graph.outputs = outputs
    try expectAgreement(maker.graph, seed: seed)
  }

  @Test("Powers and functions that oneDNN does not know", arguments: 0..<10)
  func functions(seed: Int) throws {
    var maker = GraphMaker(seed: seed, opset: 16)
    let x = maker.input([18, 7, 3])
    let conv = maker.node("Conv", [x, maker.weight([20, 18, 1, 1], scale: 0.3)])
    let positive = maker.node("Add", [maker.node("Abs", [conv]), maker.constant([0.1], [])])
    let exponent: Float = [2, 3, -1, 0.5, 1.7][seed % 5]
    let power = maker.node("Pow", [seed % 5 < 2 ? conv : positive, maker.constant([exponent], [])])
    let name = ["Erf", "Reciprocal", "Floor", "Ceil", "Cos"][seed % 5]
    let other = maker.node(name, [name == "Reciprocal" ? positive : conv])
    let back = maker.node("Conv", [power, maker.weight([8, 20, 1, 1], scale: 0.3)])
    try expectAgreement(maker.finish(back, other, power), seed: seed)
  }

  @Test("Layer normalisation, whole and in parts", arguments: 0..<8)
  func normalisations(seed: Int) throws {
    var maker = GraphMaker(seed: seed, opset: 17)
    let width = [24, 16, 37, 100][seed % 4]
    let x = maker.input([5, width])
    let (scale, shift) = (maker.weight([width]), maker.weight([width]))
    let whole = maker.node(
      "LayerNormalization", seed % 2 == 0 ? [x, scale] : [x, scale, shift],
      ["axis": .int(-1), "epsilon": .float(1e-3)])
    let last: [String: Attribute] = ["axes": .ints([-1])]
    let centred = maker.node("Sub", [whole, maker.node("ReduceMean", [whole], last)])
    let variance = maker.node(
      "ReduceMean", [maker.node("Pow", [centred, maker.constant([2], [])])], last)
    let root = maker.node("Sqrt", [maker.node("Add", [variance, maker.constant([1e-5], [])])])
    let normal = maker.node("Div", [centred, root])
    let result = maker.node("Add", [maker.node("Mul", [normal, scale]), shift])
    try expectAgreement(seed < 4 ? maker.finish(result) : maker.finish(result, root), seed: seed)
  }
}
