import Models
import Testing

@testable import Compiler

@Suite("Tiles of large products")
struct LayerTilingTests {
  private let options = CompileOptions(tileBytes: 64 * 20 * 4)

  /// Sizes of the weights of each product in a compiled graph.
  private func columns(_ program: Program) -> [Int] {
    program.graph.nodes.compactMap { node in
      guard node.operation != "Concat", node.inputs.count > 1, let id = node.inputs[1] else {
        return nil
      }
      guard let shape = program.graph[id].constant?.shape, shape.count == 2 else { return nil }
      return shape[node.int("transB", default: 0) != 0 ? 0 : 1]
    }
  }

  @Test("A product is cut into tiles of columns, and the answers stay", arguments: [0, 1])
  func gemm(transposed: Int) throws {
    let builder = GraphBuilder()
    let x = builder.input("x", ["N", 64])
    let weight = builder.weight(transposed == 1 ? [70, 64] : [64, 70])
    let y = builder.node(
      "Gemm", [x, weight, builder.weight([70])], ["transB": .int(transposed), "alpha": .float(0.5)])
    let output = builder.node("Relu", [y])
    let program = try expectSameAnswers(
      builder.finish(output), shapes: [[3, 64]], options: options)
    #expect(columns(program) == [32, 32, 6])
    #expect(program.layers.count == 4)
    #expect(program.layers.map { $0.weights.isEmpty } == [false, false, false, true])
  }

  @Test("A matrix product of sequences is cut as well, with one number added to all")
  func matMul() throws {
    let builder = GraphBuilder()
    let x = builder.input("x", ["N", 5, 64])
    let y = builder.node("MatMul", [x, builder.weight([64, 48])])
    let program = try expectSameAnswers(
      builder.finish(builder.node("Add", [y, builder.scalar(0.25)])), shapes: [[2, 5, 64]],
      options: options)
    #expect(columns(program).first == 16 && columns(program).count >= 3)
  }

  @Test("What is small enough stays whole")
  func whole() throws {
    let builder = GraphBuilder()
    let x = builder.input("x", ["N", 64])
    let y = builder.node("Gemm", [x, builder.weight([64, 20])])
    let small = try expectSameAnswers(builder.finish(y), shapes: [[3, 64]], options: options)
    #expect(columns(small) == [20])
  }
}
