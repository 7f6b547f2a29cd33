import Compiler
import Models
import Testing
import Vocabulary

@testable import CPUBackend

@Suite("CPU model")
struct CPUModelTests {
  @Test("A network that leaves nothing of a small picture is planned for a larger one")
  func largePictures() throws {
    var maker = GraphMaker(seed: 1)
    let x = maker.input([2, 1, 1])
    maker.graph[x].shape = [.symbol("n"), .fixed(2), .symbol("h"), .symbol("w")]
    var value = x
    for _ in 0..<6 {
      value = maker.node(
        "MaxPool", [value], ["kernel_shape": .ints([2, 2]), "strides": .ints([2, 2])])
    }
    let graph = maker.finish(maker.node("GlobalAveragePool", [value]))
    let program = try Compiler.compile(graph)
    #expect(program.exampleShapes == [[1, 2, 64, 64]])
    var random = Seeded(1)
    let answers = try runOnCPU(graph, [random.tensor([2, 2, 130, 70])], parts: [2])
    #expect(answers[0].shape == [2, 2, 1, 1])
  }
}
