import Backend
import CPUBackend
import Compiler
import Models
import Reference
import ReferenceBackend
import Vocabulary

/// How a graph is run.
enum Way: String {
  /// Node by node as the file has it.
  case interpreter
  /// Compiled, then node by node.
  case reference
  /// Compiled for the CPU.
  case cpu

  func run(_ graph: Graph, _ inputs: [Tensor]) throws -> [Tensor] {
    switch self {
    case .interpreter: try Interpreter.run(graph, inputs: inputs)
    case .reference: try run(graph, inputs, on: ReferenceBackend())
    case .cpu: try run(graph, inputs, on: CPUBackend())
    }
  }

  private func run(
    _ graph: Graph, _ inputs: [Tensor], on backend: any Backend
  ) throws -> [Tensor] {
    let program = try Compiler.compile(graph)
    var samples = 1
    if case .independent = program.batching { samples = inputs.first?.shape.first ?? 1 }
    let model = try backend.load(program, options: LoadOptions(maximumBatch: samples, units: [1]))
    let workspace = try model.makeWorkspace(samples: samples, inputShapes: inputs.map(\.shape))
    for (index, tensor) in inputs.enumerated() {
      if tensor.type == .string {
        workspace.setInput(index, to: tensor)
      } else {
        workspace.setInput(
          index, samples: 0..<samples,
          from: UnsafeRawBufferPointer(start: tensor.storage.base, count: tensor.byteCount))
      }
    }
    try model.run(0..<program.layers.count, samples: 0..<samples, in: workspace, units: 1)
    return program.graph.outputs.indices.map { workspace.output($0, samples: 0..<samples) }
  }
}
