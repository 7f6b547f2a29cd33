import Models
import Testing
import Vocabulary

@testable import Compiler

@Suite("Folding, simplifying and removing")
struct OptimisationTests {
  @Test("Weights that are computed become constants")
  func weights() throws {
    let builder = GraphBuilder()
    let x = builder.input("x", ["N", 4])
    let filled = builder.node(
      "ConstantOfShape", [builder.ints([4, 2])],
      ["value": .tensor(.make(.float32, [1], as: Float.self) { $0[0] = 0.5 })])
    let w = builder.node("Mul", [filled, builder.weight([4, 2])])
    let program = try expectSameAnswers(
      builder.finish(builder.node("MatMul", [x, w])), shapes: [[3, 4]])
    #expect(program.graph.nodes.map(\.operation) == ["MatMul"])
    #expect(program.layers[0].weights.count == 1)
  }

  @Test("A constant that would take too much memory is left to run time")
  func bounded() throws {
    let builder = GraphBuilder()
    let x = builder.input("x", ["N", 1])
    let filled = builder.node("ConstantOfShape", [builder.ints([1 << 15, 1 << 17])])
    let y = builder.node("Add", [x, builder.node("ReduceSum", [filled])])
    let program = try Compiler.compile(builder.finish(y))
    #expect(program.graph.nodes.map(\.operation).contains("ConstantOfShape"))
  }

  @Test("Nodes that hand on their input and nodes that nobody reads are gone")
  func idle() throws {
    let builder = GraphBuilder()
    let x = builder.input("x", ["N", 4])
    let same = builder.node("Identity", [x])
    let kept = builder.node("Dropout", [builder.node("Relu", [same])])
    builder.node("Exp", [kept])
    let turned = builder.node("Transpose", [kept], ["perm": .ints([1, 0])])
    let back = builder.node("Transpose", [turned], ["perm": .ints([1, 0])])
    let flat = builder.node("Reshape", [back, builder.ints([-1, 4])])
    let program = try expectSameAnswers(
      builder.finish(builder.node("Cast", [flat], ["to": .int(1)])), shapes: [[3, 4]])
    #expect(program.graph.nodes.map(\.operation) == ["Relu"])
  }

  @Test("Inputs and outputs keep their names whatever is removed")
  func names() throws {
    let builder = GraphBuilder()
    let x = builder.input("x", ["N", 4])
    let y = builder.node("Identity", [builder.node("Relu", [x])], name: "last")
    let z = builder.node("Identity", [x], name: "copy")
    let program = try Compiler.compile(builder.finish(y, z))
    #expect(program.graph.outputs.map { program.graph[$0].name } == ["last.0", "copy.0"])
    #expect(program.graph.inputs.map { program.graph[$0].name } == ["x"])
  }
}

@Suite("Simplification")
struct SimplificationTests {
  @Test("A target computed from shapes becomes a constant")
  func target() throws {
    let builder = GraphBuilder()
    let x = builder.input("x", ["N", "T", 8])
    let sizes = builder.node("Shape", [x])
    let batch = builder.node("Slice", [sizes, builder.ints([0]), builder.ints([1])])
    let target = builder.node(
      "Concat", [batch, builder.ints([-1, 2, 4])], ["axis": .int(0)])
    let program = try expectSameAnswers(
      builder.finish(builder.node("Reshape", [x, target])), shapes: [[3, 5, 8]])
    #expect(program.graph.nodes.map(\.operation) == ["Reshape"])
  }

  @Test("Products with 1 and sums with 0 are gone, others stay")
  func neutral() throws {
    let builder = GraphBuilder()
    let x = builder.input("x", ["N", 4])
    var y = builder.node("Mul", [x, builder.scalar(1)])
    y = builder.node("Add", [y, builder.scalar(0)])
    y = builder.node("Relu", [builder.node("Mul", [y, builder.scalar(2)])])
    let program = try expectSameAnswers(builder.finish(y), shapes: [[3, 4]])
    #expect(program.graph.nodes.map(\.operation) == ["Mul", "Relu"])
  }
}
