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
  /// Compiled for the CPU; all data sets as one batch where samples are independent, and every
  /// other layer takes the first sample alone.
  case parts

  /// The answers to each data set.
  func run(_ graph: Graph, _ sets: [[Tensor]]) throws -> [[Tensor]] {
    switch self {
    case .interpreter: try sets.map { try Interpreter.run(graph, inputs: $0) }
    case .reference: try run(graph, sets, on: ReferenceBackend())
    case .cpu, .parts: try run(graph, sets, on: CPUBackend())
    }
  }

  private func run(
    _ graph: Graph, _ sets: [[Tensor]], on backend: any Backend
  ) throws -> [[Tensor]] {
    let program = try Compiler.compile(graph)
    let counts = sets.map { set in
      if case .independent = program.batching { set.first?.shape.first ?? 1 } else { 1 }
    }
    let samples = counts.reduce(0, +)
    let model = try backend.load(program, options: LoadOptions(maximumBatch: samples, units: [1]))
    if self == .parts, case .independent = program.batching, Self.stack(sets) {
      return try runInParts(program, model, sets, counts)
    }
    return try zip(sets, counts).map { set, count in
      let workspace = try model.makeWorkspace(samples: count, inputShapes: set.map(\.shape))
      Self.fill(workspace, set, 0..<count)
      try model.run(0..<program.layers.count, samples: 0..<count, in: workspace, units: 1)
      return program.graph.outputs.indices.map { workspace.output($0, samples: 0..<count) }
    }
  }

  private func runInParts(
    _ program: Program, _ model: any LoadedModel, _ sets: [[Tensor]], _ counts: [Int]
  ) throws -> [[Tensor]] {
    let samples = counts.reduce(0, +)
    let shapes = sets[0].map { [samples] + $0.shape.dropFirst() }
    let workspace = try model.makeWorkspace(samples: samples, inputShapes: shapes)
    let starts = counts.indices.map { counts[..<$0].reduce(0, +) }
    let ranges = zip(starts, counts).map { $0..<$0 + $1 }
    for (set, range) in zip(sets, ranges) { Self.fill(workspace, set, range) }
    for layer in program.layers.indices {
      let parts = layer % 2 == 0 || samples == 1 ? [0..<samples] : [0..<1, 1..<samples]
      for part in parts {
        try model.run(layer..<layer + 1, samples: part, in: workspace, units: 1)
      }
      workspace.releaseValues(before: layer + 1)
    }
    return ranges.map { range in
      program.graph.outputs.indices.map { workspace.output($0, samples: range) }
    }
  }

  /// Whether data sets can be one batch: plain elements, and the same shapes but for the batch.
  private static func stack(_ sets: [[Tensor]]) -> Bool {
    sets.allSatisfy { set in
      zip(set, sets[0]).allSatisfy { tensor, first in
        tensor.type != .string && tensor.shape.dropFirst() == first.shape.dropFirst()
      }
    }
  }

  private static func fill(_ workspace: any Workspace, _ set: [Tensor], _ samples: Range<Int>) {
    for (index, tensor) in set.enumerated() {
      if tensor.type == .string {
        workspace.setInput(index, to: tensor)
      } else {
        workspace.setInput(
          index, samples: samples,
          from: UnsafeRawBufferPointer(start: tensor.storage.base, count: tensor.byteCount))
      }
    }
  }
}
