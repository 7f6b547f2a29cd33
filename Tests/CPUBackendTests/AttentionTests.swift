import Backend
import Compiler
import Models
import Reference
import Testing
import Vocabulary

@testable import CPUBackend

/// Precisions that this processor computes in.
private let precisions: [Precision] =
  [.float32] + (CPUBackend().refusal(of: .bfloat16) == nil ? [.bfloat16] : [])

private struct Sizes {
  var heads = 3
  var queries: Int
  var keys: Int
  var depth: Int
  var valueDepth: Int
}

/// Whole tiles and parts of them, one block of keys and several, one query and more than a part of
/// the work.
private let sizes = [
  Sizes(queries: 5, keys: 7, depth: 8, valueDepth: 10),
  Sizes(queries: 33, keys: 130, depth: 16, valueDepth: 32),
  Sizes(queries: 16, keys: 64, depth: 32, valueDepth: 56),
  Sizes(queries: 1, keys: 65, depth: 20, valueDepth: 16),
  Sizes(queries: 150, keys: 70, depth: 12, valueDepth: 6),
  Sizes(queries: 40, keys: 300, depth: 40, valueDepth: 33),
  Sizes(heads: 1, queries: 270, keys: 600, depth: 64, valueDepth: 64),
  Sizes(queries: 128, keys: 128, depth: 80, valueDepth: 80),
  Sizes(heads: 12, queries: 32, keys: 31, depth: 33, valueDepth: 17),
]

/// Attention as exporters write it, of queries that a request brings and of keys and values that
/// products make.
private func attention(_ sizes: Sizes, seed: Int, mask: Tensor? = nil) -> Graph {
  var maker = GraphMaker(seed: seed)
  func made(_ rows: Int, _ depth: Int) -> ValueID {
    let x = maker.input([sizes.heads, rows, depth])
    let scale = 1 / Float(depth).squareRoot()
    return maker.node("MatMul", [x, maker.weight([depth, depth], scale: 2 * scale)])
  }
  let q = maker.input([sizes.heads, sizes.queries, sizes.depth])
  let k = made(sizes.keys, sizes.depth)
  let v = made(sizes.keys, sizes.valueDepth)
  let turned = maker.node("Transpose", [k], ["perm": .ints([0, 1, 3, 2])])
  let scores = maker.node("MatMul", [q, turned])
  let factor = 3 / Float(sizes.depth).squareRoot()
  var scaled = maker.node("Mul", [scores, maker.constant([factor], [])])
  if let mask {
    let added = mask.withElements(as: Float.self) { maker.constant(Array($0), mask.shape) }
    scaled = maker.node("Add", [scaled, added])
  }
  let weights = maker.node("Softmax", [scaled], ["axis": .int(-1)])
  return maker.finish(maker.node("MatMul", [weights, v]))
}

/// A mask for all heads, for keys alone or for queries alone; none for others.
private func mask(_ kind: Int, _ sizes: Sizes, seed: Int) -> Tensor? {
  var random = Seeded(seed)
  let shapes = [
    [sizes.queries, sizes.keys], [1, 1, 1, sizes.keys], [1, sizes.heads, sizes.queries, 1],
  ]
  return kind < shapes.count ? random.tensor(shapes[kind], scale: 3) : nil
}

private func run(
  _ graph: Graph, _ inputs: [Tensor], parts: [Int], _ precision: Precision,
  families: KernelFamilies = .all, units: Int = 1
) throws -> [Float] {
  let program = try Compiler.compile(graph)
  #expect(program.graph.nodes.contains { $0.operation == "Attention" }, "the pattern is not found")
  let samples = parts.reduce(0, +)
  let model = try CPUBackend(computeUnits: 2, families: families).load(
    program, options: LoadOptions(maximumBatch: 4, units: [1, 2], precision: precision))
  let workspace = try model.makeWorkspace(samples: samples, inputShapes: inputs.map(\.shape))
  for (index, tensor) in inputs.enumerated() {
    workspace.setInput(index, samples: 0..<samples, to: tensor)
  }
  var first = 0
  for part in parts {
    try model.run(
      0..<program.layers.count, samples: first..<first + part, in: workspace, units: units)
    first += part
  }
  return elements(workspace.output(0, samples: 0..<samples))
}

@Suite("Attention")
struct AttentionTests {
  @Test("Attention of any size, with masks that are repeated", arguments: sizes.indices, 0..<4)
  func agreement(size: Int, kind: Int) throws {
    let sizes = sizes[size]
    let graph = attention(sizes, seed: size, mask: mask(kind, sizes, seed: size))
    try expectAgreement(graph, seed: size)
  }

  @Test("Matrix units give what vectors give", arguments: sizes.indices, precisions)
  func families(size: Int, precision: Precision) throws {
    let sizes = sizes[size]
    let graph = attention(sizes, seed: size, mask: mask(size % 4, sizes, seed: size))
    var random = Seeded(size + 300)
    let inputs = random.inputs(of: graph, samples: 2)
    let expected = try run(graph, inputs, parts: [2], precision, families: .minimalFiltering)
    let answers = try run(graph, inputs, parts: [2], precision)
    let largest = expected.reduce(0) { max($0, abs($1)) }
    let error = zip(expected, answers).reduce(0) { max($0, abs($1.0 - $1.1)) } / largest
    #expect(error < (precision == .float32 ? 1e-4 : 0.02))
  }

  @Test("The same sample has the same bits in every batch", arguments: sizes.indices, precisions)
  func bits(size: Int, precision: Precision) throws {
    let sizes = sizes[size]
    let graph = attention(sizes, seed: size, mask: mask(size % 4, sizes, seed: size))
    var random = Seeded(size + 400)
    let inputs = random.inputs(of: graph, samples: 4)
    let whole = try run(graph, inputs, parts: [4], precision)
    for (parts, units) in [([1, 1, 1, 1], 1), ([3, 1], 2), ([1, 3], 1), ([4], 2)] {
      let answers = try run(graph, inputs, parts: parts, precision, units: units)
      #expect(answers == whole, "parts \(parts), units \(units)")
    }
  }

  @Test(
    "Keys that are masked count nothing, and queries that see none are no numbers",
    arguments: sizes.indices, precisions)
  func masked(size: Int, precision: Precision) throws {
    let sizes = sizes[size]
    var random = Seeded(size)
    let values = random.floats(sizes.queries * sizes.keys).enumerated().map { place, value in
      let isSeen = value > 0 && place / sizes.keys % 7 != 2 && place % sizes.keys < 280
      return isSeen ? value : -Float.infinity
    }
    let mask = Tensor.make(.float32, [sizes.queries, sizes.keys], as: Float.self) { elements in
      for index in elements.indices { elements[index] = values[index] }
    }
    let graph = attention(sizes, seed: size, mask: mask)
    let inputs = random.inputs(of: graph, samples: 1)
    let expected = elements(try Interpreter.run(graph, inputs: inputs)[0])
    for families: KernelFamilies in [.all, []] {
      let answers = try run(graph, inputs, parts: [1], precision, families: families)
      let seen = zip(expected, answers).filter { !$0.0.isNaN }
      let largest = seen.reduce(0) { max($0, abs($1.0)) }
      let error = seen.reduce(0) { max($0, abs($1.0 - $1.1)) }
      #expect(error <= (precision == .float32 ? 1e-4 : 0.03) * largest)
      #expect(zip(expected, answers).allSatisfy { $0.isNaN == $1.isNaN })
    }
  }
}
