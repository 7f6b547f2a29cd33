import Backend
import Compiler
import Models
import NullBackend
import Testing
import Threads
import Vocabulary

@Suite("Null backend")
struct NullBackendTests {
  @Test("A run takes at least the time it is told, and answers zeros of the right shape")
  func time() throws {
    let graph = Graph(
      name: "g",
      values: [
        Value(name: "x", type: .float32, shape: [.symbol("n"), .fixed(2)]),
        Value(name: "y", type: .float32, shape: [.symbol("n"), .fixed(2)]),
      ],
      nodes: [
        Node(name: "r", operation: "Relu", opset: 13, inputs: [ValueID(0)], outputs: [ValueID(1)])
      ], inputs: [ValueID(0)], outputs: [ValueID(1)])
    let program = try Compiler.compile(graph)
    let backend = NullBackend(computeUnits: 2) { _, samples, units in
      .milliseconds(4 * samples / units)
    }
    let model = try backend.load(program, options: LoadOptions(maximumBatch: 4, units: [1, 2]))
    let workspace = try model.makeWorkspace(samples: 3, inputShapes: [[3, 2]])
    let begin = Clock.nanoseconds
    try model.run(0..<program.layers.count, samples: 0..<3, in: workspace, units: 2)
    #expect(Clock.nanoseconds - begin >= 6_000_000)
    let output = workspace.output(0, samples: 0..<3)
    #expect(output.shape == [3, 2])
    #expect(output.withElements(as: Float.self) { $0.allSatisfy { $0 == 0 } })
  }
}
