import Backend
import Compiler
import Models
import ReferenceBackend
import Testing
import Vocabulary

@Suite("Reference backend")
struct ReferenceBackendTests {
  @Test("Samples are computed alone, layer by layer, in any parts")
  func parts() throws {
    let weights = Tensor.make(.float32, [2, 2], as: Float.self) { elements in
      for index in 0..<4 { elements[index] = Float(index + 1) }
    }
    let graph = Graph(
      name: "g",
      values: [
        Value(name: "x", type: .float32, shape: [.symbol("n"), .fixed(2)]),
        Value(name: "w", type: .float32, shape: [.fixed(2), .fixed(2)], constant: weights),
        Value(name: "y"),
      ],
      nodes: [
        Node(
          name: "p", operation: "MatMul", opset: 13, inputs: [ValueID(0), ValueID(1)],
          outputs: [ValueID(2)])
      ], inputs: [ValueID(0)], outputs: [ValueID(2)])
    let program = try Compiler.compile(graph)
    let model = try ReferenceBackend().load(
      program, options: LoadOptions(maximumBatch: 4, units: [1]))
    let workspace = try model.makeWorkspace(samples: 3, inputShapes: [[3, 2]])
    let input: [Float] = [1, 0, 0, 1, 1, 1]
    input.withUnsafeBytes { workspace.setInput(0, samples: 0..<3, from: $0) }
    for part in [0..<1, 1..<3] {
      try model.run(0..<program.layers.count, samples: part, in: workspace, units: 1)
    }
    #expect(workspace.outputShape(0) == [3, 2])
    let output = workspace.output(0, samples: 1..<3)
    #expect(output.withElements(as: Float.self) { Array($0) } == [3, 4, 4, 6])
  }

  @Test("An operator that nobody knows is refused at load")
  func unknown() {
    let graph = Graph(
      name: "g", values: [Value(name: "x", type: .float32, shape: []), Value(name: "y")],
      nodes: [
        Node(name: "n", operation: "Fly", opset: 13, inputs: [ValueID(0)], outputs: [ValueID(1)])
      ], inputs: [ValueID(0)], outputs: [ValueID(1)])
    let program = Program(
      graph: graph, layers: [Layer(name: "n", nodes: 0..<1, weights: [], liveAfter: [])],
      batching: .whole(reason: "test"), freeSymbols: [])
    #expect {
      _ = try ReferenceBackend().load(program, options: LoadOptions(maximumBatch: 1, units: [1]))
    } throws: { "\($0)".contains("Fly") }
  }
}
