import Models
import Testing

@testable import Compiler

@Suite("Batch analysis")
struct BatchAnalysisTests {
  /// Why a graph cannot be batched, or nil when it can.
  private func reason(_ graph: Graph) throws -> String? {
    switch try Compiler.compile(graph).batching {
    case .independent: nil
    case .whole(let reason): reason
    }
  }

  @Test(
    "A Reshape with a constant target made for one sample holds for any number",
    arguments: [
      [1, -1], [1, 24], [-1, 24], [0, -1], [1, 4, 6], [-1, 12], [2, 12], [1, 2, -1],
    ])
  func reshape(target: [Int]) throws {
    let builder = GraphBuilder()
    let x = builder.input("x", [1, 4, 6])
    let y = builder.node("Reshape", [x, builder.ints(target)])
    let back = builder.node("Reshape", [builder.node("Relu", [y]), builder.ints([1, 24])])
    try expectBatched(builder.finish(back), sampleShapes: [[4, 6]])
  }

  @Test("A channel shuffle for one sample is batched")
  func shuffle() throws {
    let builder = GraphBuilder()
    let x = builder.input("x", [1, 6, 2, 2])
    let grouped = builder.node("Reshape", [x, builder.ints([1, 3, 2, 2, 2])])
    let turned = builder.node("Transpose", [grouped], ["perm": .ints([0, 2, 1, 3, 4])])
    let y = builder.node("Reshape", [turned, builder.ints([1, 6, 2, 2])])
    try expectBatched(builder.finish(y), sampleShapes: [[6, 2, 2]])
  }

  @Test("Sequences are batched on their second axis, inside one layer")
  func sequences() throws {
    let builder = GraphBuilder()
    let x = builder.input("x", [1, 5, 3])
    let turned = builder.node("Transpose", [x], ["perm": .ints([1, 0, 2])])
    let scaled = builder.node("Mul", [turned, builder.weight([5, 1, 3])])
    let back = builder.node("Transpose", [scaled], ["perm": .ints([1, 0, 2])])
    let y = builder.node("Relu", [back])
    let graph = builder.finish(y)
    try expectBatched(graph, sampleShapes: [[5, 3]])
    let program = try Compiler.compile(graph)
    #expect(program.layers.count == 2)
  }

  @Test("A class token that all samples share is repeated for each")
  func classToken() throws {
    let builder = GraphBuilder()
    let x = builder.input("x", [1, 3, 4])
    let y = builder.node("Concat", [builder.weight([1, 1, 4]), x], ["axis": .int(1)])
    try expectBatched(builder.finish(builder.node("Relu", [y])), sampleShapes: [[3, 4]])
  }

  @Test("What mixes samples is found, by the name of its node")
  func mixing() throws {
    let mixes: [(GraphBuilder, ValueID) -> ValueID] = [
      { $0.node("Softmax", [$1], ["axis": .int(0)], name: "mixer") },
      { $0.node("ReduceMean", [$1], ["axes": .ints([0])], name: "mixer") },
      { $0.node("ReduceMean", [$1], ["keepdims": .int(1)], name: "mixer") },
      { $0.node("MatMul", [$0.weight([4, 4]), $1], name: "mixer") },
      { $0.node("MatMul", [$1, $0.node("Transpose", [$1])], name: "mixer") },
      { $0.node("Concat", [$1, $1], ["axis": .int(0)], name: "mixer") },
      { $0.node("CumSum", [$1, $0.ints([0], shape: [])], name: "mixer") },
      { $0.node("Gather", [$1, $0.ints([0])], ["axis": .int(0)], name: "mixer") },
      { $0.node("Reshape", [$1, $0.ints([1, -1])], name: "mixer") },
      { $0.nodes("DynamicQuantizeLinear", [$1], outputs: 3, name: "mixer")[0] },
    ]
    for (index, mix) in mixes.enumerated() {
      let builder = GraphBuilder(opset: 13)
      let x = builder.input("x", ["N", 4])
      let y = mix(builder, x)
      let found = try reason(builder.finish(y))
      #expect(found?.contains("'mixer") ?? false, "case \(index): \(found ?? "batched")")
    }
  }

  @Test("Angles of a rotation that lie by sample keep the samples together")
  func rotation() throws {
    let builder = GraphBuilder(opset: 23)
    let x = builder.input("x", ["N", 1, 2, 2])
    let angles = (builder.weight([3, 2, 1]), builder.weight([3, 2, 1]))
    let y = builder.node("RotaryEmbedding", [x, angles.0, angles.1], name: "turn")
    #expect(try reason(builder.finish(y))?.contains("'turn'") ?? false)
  }

  @Test("Inputs without a batch of their own are not batched")
  func inputs() throws {
    let builder = GraphBuilder()
    let x = builder.input("x", ["N", 4])
    let scale = builder.input("scale", [4])
    let fixed = try reason(builder.finish(builder.node("Mul", [x, scale])))
    #expect(fixed?.contains("'scale'") ?? false)
    let scalars = GraphBuilder()
    let y = scalars.input("y", [])
    #expect(try reason(scalars.finish(scalars.node("Relu", [y])))?.contains("'y'") ?? false)
  }

  @Test("A model that stays whole is still compiled with its own shapes")
  func whole() throws {
    let builder = GraphBuilder(opset: 13)
    let x = builder.input("x", [1, 4])
    let y = builder.node("Softmax", [x], ["axis": .int(0)])
    let program = try expectSameAnswers(builder.finish(y), shapes: [[1, 4]])
    #expect(program.graph[program.graph.inputs[0]].shape == [1, 4])
  }
}
