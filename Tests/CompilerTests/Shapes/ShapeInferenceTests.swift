import Models
import Testing
import Vocabulary

@testable import Compiler

@Suite("Shape inference")
struct ShapeInferenceTests {
  private func shape(of graph: Graph) throws -> [Dimension]? {
    try ShapeInference.infer(graph)[graph.outputs[0].index].shape
  }

  @Test("A convolution keeps symbols where it can")
  func convolution() throws {
    let builder = GraphBuilder()
    let x = builder.input("x", ["N", 3, "H", 224])
    let w = builder.weight([8, 3, 3, 3])
    let y = builder.node(
      "Conv", [x, w], ["strides": .ints([1, 2]), "pads": .ints([1, 1, 1, 1])])
    #expect(try shape(of: builder.finish(y)) == ["N", 8, "H", 112])
  }

  @Test("A Reshape whose target is computed from shapes has a known result")
  func computedTarget() throws {
    let builder = GraphBuilder()
    let x = builder.input("x", ["N", 4, "H", 6])
    let dimensions = builder.node("Shape", [x])
    let batch = builder.node("Gather", [dimensions, builder.ints([0], shape: [])])
    let height = builder.node("Gather", [dimensions, builder.ints([2], shape: [])])
    let axes = builder.ints([0])
    let target = builder.node(
      "Concat",
      [
        builder.node("Unsqueeze", [batch, axes]), builder.ints([-1]),
        builder.node(
          "Unsqueeze", [builder.node("Mul", [height, builder.ints([2], shape: [])]), axes]),
      ], ["axis": .int(0)])
    let y = builder.node("Reshape", [x, target])
    let graph = builder.finish(y)
    #expect(try shape(of: graph) == ["N", 12, "2*H"])
    let program = try Compiler.compile(graph)
    let concrete = try ShapeInference.shapes(of: program, inputShapes: [[5, 4, 3, 6]])
    #expect(concrete[program.graph.outputs[0].index] == [5, 12, 6])
  }

  @Test("Expanding to a shape computed with Where and Equal is followed")
  func expandIdiom() throws {
    let builder = GraphBuilder()
    let x = builder.input("x", ["N", 4])
    let wanted = builder.node(
      "Concat", [builder.node("Shape", [x], ["end": .int(1)]), builder.ints([-1, 4])],
      ["axis": .int(0)])
    let open = builder.node("Equal", [wanted, builder.ints([-1])])
    let target = builder.node("Where", [open, builder.ints([1, 1, 1]), wanted])
    let y = builder.node("Expand", [builder.weight([1, 1, 4]), target])
    #expect(try shape(of: builder.finish(y)) == ["N", 1, 4])
  }

  @Test("Shapes that do not fit are refused by the node's name")
  func misfit() {
    let builder = GraphBuilder()
    let x = builder.input("x", ["N", 5])
    let y = builder.node("MatMul", [x, builder.weight([4, 3])], name: "head")
    let graph = builder.finish(y)
    #expect(throws: ModelError.self) { try ShapeInference.infer(graph) }
    do {
      _ = try ShapeInference.infer(graph)
    } catch { #expect(error.description.contains("'head'")) }
  }

  @Test("A request's shape has to fit what the graph declares")
  func request() throws {
    let builder = GraphBuilder()
    let x = builder.input("x", ["N", 4])
    let z = builder.input("z", ["N", 4])
    let program = try Compiler.compile(builder.finish(builder.node("Add", [x, z])))
    #expect(throws: ModelError.self) {
      try ShapeInference.shapes(of: program, inputShapes: [[2, 5], [2, 4]])
    }
    #expect(throws: ModelError.self) {
      try ShapeInference.shapes(of: program, inputShapes: [[2, 4], [3, 4]])
    }
    #expect(throws: ModelError.self) {
      try ShapeInference.shapes(of: program, inputShapes: [[2, 4]])
    }
  }

  @Test(
    "Inputs that must be of one type and are not are refused with both types",
    arguments: ["Add", "Concat", "Equal", "MatMul", "Where", "ScatterND"])
  func mixedTypes(operation: String) throws {
    let builder = GraphBuilder()
    let x = builder.input("x", [.symbol("n"), .fixed(4)])
    let y = builder.input("y", [.symbol("n"), .fixed(4)], type: .int64)
    let condition = builder.input("c", [.symbol("n"), .fixed(4)], type: .bool)
    let inputs: [ValueID?] =
      switch operation {
      case "Where": [condition, x, y]
      case "ScatterND": [x, builder.ints([0], shape: [1, 1]), y]
      default: [x, y]
      }
    let graph = builder.finish(
      builder.node(operation, inputs, ["axis": .int(1)], name: "join"))
    let error = #expect(throws: ModelError.self) { try Compiler.compile(graph) }
    let sentence = error.map { "\($0)" } ?? ""
    for word in ["join", operation, "FP32", "INT64"] { #expect(sentence.contains(word)) }
  }

  @Test("A tensor too large to exist is refused")
  func huge() {
    let builder = GraphBuilder()
    let y = builder.node("ConstantOfShape", [builder.ints([1 << 40, 1 << 40])])
    #expect(throws: ModelError.self) { try ShapeInference.infer(builder.finish(y)) }
  }
}
