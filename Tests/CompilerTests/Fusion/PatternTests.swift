import Models
import Testing
import Vocabulary

@testable import Compiler

@Suite("Patterns that files spell out")
struct PatternTests {
  private func operations(
    _ shapes: [[Int]], _ build: (GraphBuilder) -> ValueID
  ) throws -> [String] {
    let builder = GraphBuilder()
    let output = build(builder)
    return try expectSameAnswers(builder.finish(output), shapes: shapes).graph.nodes
      .map(\.operation)
  }

  @Test("GELU is recognised in the orders that exporters write", arguments: 0..<3)
  func gelu(order: Int) throws {
    let found = try operations([[3, 8]]) { builder in
      let x = builder.input("x", ["N", 8])
      let scaled =
        order == 0
        ? builder.node("Div", [x, builder.scalar(1.414_213_5)])
        : builder.node("Mul", [x, builder.scalar(0.707_106_77)])
      let sum = builder.node("Add", [builder.node("Erf", [scaled]), builder.scalar(1)])
      switch order {
      case 0:
        return builder.node("Mul", [builder.node("Mul", [x, sum]), builder.scalar(0.5)])
      case 1:
        return builder.node("Mul", [builder.node("Mul", [x, builder.scalar(0.5)]), sum])
      default:
        return builder.node("Mul", [x, builder.node("Mul", [sum, builder.scalar(0.5)])])
      }
    }
    #expect(found == ["Gelu"])
  }

  @Test("GELU by its hyperbolic tangent is recognised", arguments: [true, false])
  func geluTangent(hasPower: Bool) throws {
    let found = try operations([[3, 8]]) { builder in
      let x = builder.input("x", ["N", 8])
      let weight = builder.scalar(0.044715)
      let term =
        hasPower
        ? builder.node("Mul", [builder.node("Pow", [x, builder.scalar(3)]), weight])
        : builder.node("Mul", [x, builder.node("Mul", [x, builder.node("Mul", [weight, x])])])
      let inner = builder.node("Add", [x, term])
      let scaled = builder.node("Mul", [inner, builder.scalar(0.797_884_6)])
      let sum = builder.node("Add", [builder.node("Tanh", [scaled]), builder.scalar(1)])
      let half = builder.node("Mul", [x, builder.scalar(0.5)])
      return builder.node("Mul", [half, sum])
    }
    #expect(found == ["Gelu"])
  }

  @Test("An error function with another factor is no GELU")
  func noGelu() throws {
    let found = try operations([[3, 8]]) { builder in
      let x = builder.input("x", ["N", 8])
      let scaled = builder.node("Mul", [x, builder.scalar(0.8)])
      let sum = builder.node("Add", [builder.node("Erf", [scaled]), builder.scalar(1)])
      return builder.node("Mul", [builder.node("Mul", [x, sum]), builder.scalar(0.5)])
    }
    #expect(!found.contains("Gelu"))
  }

  @Test("HardSwish with a clipped sum is recognised", arguments: [true, false])
  func hardSwish(dividesLast: Bool) throws {
    let found = try operations([[3, 8]]) { builder in
      let x = builder.input("x", ["N", 8])
      let sum = builder.node("Add", [x, builder.scalar(3)])
      let gate = builder.node("Clip", [sum, builder.scalar(0), builder.scalar(6)])
      return dividesLast
        ? builder.node("Div", [builder.node("Mul", [x, gate]), builder.scalar(6)])
        : builder.node("Mul", [x, builder.node("Div", [gate, builder.scalar(6)])])
    }
    #expect(found == ["HardSwish"])
  }

  @Test("Layer normalisation is recognised with and without scale", arguments: [true, false])
  func layerNormalization(isScaled: Bool) throws {
    let found = try operations([[2, 3, 8]]) { builder in
      let x = builder.input("x", ["N", 3, 8])
      let mean = builder.node("ReduceMean", [x], ["axes": .ints([-1])])
      let centred = builder.node("Sub", [x, mean])
      let squares = builder.node("Pow", [centred, builder.scalar(2)])
      let variance = builder.node("ReduceMean", [squares], ["axes": .ints([-1])])
      let root = builder.node(
        "Sqrt", [builder.node("Add", [variance, builder.scalar(1e-5)])])
      let y = builder.node("Div", [centred, root])
      guard isScaled else { return y }
      let scaled = builder.node("Mul", [y, builder.weight([8])])
      return builder.node("Add", [scaled, builder.weight([8])])
    }
    #expect(found == ["LayerNormalization"])
  }

  /// One head count, one width, optional mask: self-attention as exporters write it.
  private func attention(_ builder: GraphBuilder, masked: Bool, dividesByRoot: Bool) -> ValueID {
    let x = builder.input("x", ["N", 5, 8])
    func heads(_ perm: [Int]) -> ValueID {
      let y = builder.node("MatMul", [x, builder.weight([8, 8])])
      let split = builder.node("Reshape", [y, builder.ints([0, 5, 2, 4])])
      return builder.node("Transpose", [split], ["perm": .ints(perm)])
    }
    let (q, k, v) = (heads([0, 2, 1, 3]), heads([0, 2, 3, 1]), heads([0, 2, 1, 3]))
    var scores = builder.node("MatMul", [q, k])
    scores =
      dividesByRoot
      ? builder.node("Div", [scores, builder.scalar(2)])
      : builder.node("Mul", [scores, builder.scalar(0.5)])
    if masked { scores = builder.node("Add", [scores, builder.weight([1, 1, 5, 5])]) }
    let weights = builder.node("Softmax", [scores], ["axis": .int(-1)])
    let mixed = builder.node("MatMul", [weights, v])
    let joined = builder.node("Transpose", [mixed], ["perm": .ints([0, 2, 1, 3])])
    return builder.node("Reshape", [joined, builder.ints([0, 5, 8])])
  }

  @Test("Attention becomes one node", arguments: [true, false], [true, false])
  func attention(masked: Bool, dividesByRoot: Bool) throws {
    let found = try operations([[2, 5, 8]]) { builder in
      attention(builder, masked: masked, dividesByRoot: dividesByRoot)
    }
    #expect(found.filter { $0 == "Attention" }.count == 1)
    #expect(!found.contains("Softmax"))
  }

  @Test("Attention exported for one sample is batched")
  func batchedAttention() throws {
    let builder = GraphBuilder()
    var graph = builder.finish(attention(builder, masked: true, dividesByRoot: true))
    graph[graph.inputs[0]].shape = [1, 5, 8]
    try expectBatched(graph, sampleShapes: [[5, 8]])
  }

  @Test("Turns around activations and constants cancel out")
  func transposes() throws {
    let found = try operations([[2, 3, 4, 5]]) { builder in
      let x = builder.input("x", ["N", 3, 4, 5])
      var y = builder.node("Transpose", [x], ["perm": .ints([0, 2, 3, 1])])
      y = builder.node("Mul", [y, builder.weight([3])])
      y = builder.node("Relu", [builder.node("Sub", [builder.weight([5, 3]), y])])
      return builder.node("Transpose", [y], ["perm": .ints([0, 3, 1, 2])])
    }
    #expect(!found.contains("Transpose"))
  }

  @Test("A branch that a constant decides is put in place of its node", arguments: [true, false])
  func branch(isTaken: Bool) throws {
    let builder = GraphBuilder()
    let x = builder.input("x", ["N", 4])
    let condition = builder.constant(.make(.bool, [], as: UInt8.self) { $0[0] = isTaken ? 1 : 0 })
    func body(_ operation: String) -> Attribute {
      let inner = GraphBuilder()
      let captured = inner.capture("x")
      let y = inner.node(operation, [captured], name: "inner")
      return .graph(inner.finish(y))
    }
    let y = builder.node(
      "If", [condition, x], ["then_branch": body("Exp"), "else_branch": body("Neg")])
    let program = try Compiler.compile(builder.finish(y))
    #expect(program.graph.nodes.map(\.operation) == [isTaken ? "Exp" : "Neg"])
  }

  @Test("A loop with a constant number of steps is unrolled and batched")
  func loop() throws {
    let inner = GraphBuilder()
    _ = inner.input("step", [], type: .int64)
    let going = inner.input("going", [], type: .bool)
    let state = inner.input("state", ["N", 4])
    let next = inner.node("Mul", [inner.node("Tanh", [state]), inner.capture("w")])
    let body = inner.finish(going, next, next)
    let builder = GraphBuilder()
    let x = builder.input("x", ["N", 4])
    let yes = builder.constant(.make(.bool, [], as: UInt8.self) { $0[0] = 1 })
    let results = builder.nodes(
      "Loop", [builder.ints([3], shape: []), yes, x, builder.weight([4])], outputs: 2,
      ["body": .graph(body)])
    let sum = builder.node("ReduceSum", [results[1], builder.ints([0])], ["keepdims": .int(0)])
    let y = builder.node("Add", [results[0], sum])
    let program = try Compiler.compile(builder.finish(y))
    #expect(program.graph.nodes.filter { $0.operation == "Tanh" }.count == 3)
    guard case .independent = program.batching else {
      Issue.record("\(program.batching)")
      return
    }
  }
}
