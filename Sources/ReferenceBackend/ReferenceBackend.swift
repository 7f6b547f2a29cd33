public import Backend
public import Compiler
public import Models
import Reference
import Vocabulary

/// Runs programs operator by operator in plain Swift: slow, obviously right.
public struct ReferenceBackend: Backend {
  /// A backend for comparison.
  public init() {}

  /// The name shown to people.
  public var name: String { "reference" }

  /// One core: nothing here is parallel.
  public var computeUnits: Int { 1 }

  /// Checks that every operator is known.
  ///
  /// - Throws: `ModelError`, naming the node that is not.
  public func load(_ program: Program, options: LoadOptions) throws(ModelError) -> any LoadedModel {
    for node in program.graph.nodes where !Reference.knows(node.operation, domain: node.domain) {
      throw ModelError(
        "Node '\(node.name)' uses operator \(node.operation) of opset \(node.opset), which is "
          + "not supported.")
    }
    return ReferenceModel(program)
  }
}

/// A program that is interpreted.
final class ReferenceModel: LoadedModel {
  let program: Program
  let layers: [LayerFootprint]

  init(_ program: Program) {
    self.program = program
    layers = program.layers.map { layer in
      let weights = layer.weights.reduce(0) {
        $0 + (program.graph[$1].constant?.byteCount ?? 0)
      }
      return LayerFootprint(
        name: layer.name, weights: ByteCount(weights), activations: .zero, scratch: .zero)
    }
  }

  func makeWorkspace(
    samples: Int, inputShapes: [[Int]]
  ) throws(ModelError) -> any Workspace {
    ReferenceWorkspace(program, samples: samples, inputShapes: inputShapes)
  }

  func run(
    _ layers: Range<Int>, samples: Range<Int>, in workspace: any Workspace, units: Int
  ) throws(ModelError) {
    guard let workspace = workspace as? ReferenceWorkspace else {
      throw ModelError("The workspace was made by another backend.")
    }
    for sample in samples {
      for layer in layers {
        for node in program.graph.nodes[program.layers[layer].nodes] {
          try workspace.run(node, sample)
        }
      }
    }
  }
}

/// Every value of every sample, each sample computed alone.
final class ReferenceWorkspace: Workspace {
  private let graph: Graph
  /// Samples are told apart; if not, the one "sample" is the whole request.
  private let isBatched: Bool
  private let inputShapes: [[Int]]
  /// Indexed by sample, then by value.
  private var values: [[Tensor?]]

  init(_ program: Program, samples: Int, inputShapes: [[Int]]) {
    graph = program.graph
    isBatched = if case .independent = program.batching { true } else { false }
    self.inputShapes = inputShapes
    values = Array(repeating: program.graph.values.map(\.constant), count: samples)
  }

  var samples: Int { values.count }

  var byteCount: ByteCount {
    values.joined().reduce(into: .zero) { $0 += ByteCount($1?.byteCount ?? 0) }
  }

  func setInput(_ index: Int, samples: Range<Int>, from elements: UnsafeRawBufferPointer) {
    let id = graph.inputs[index]
    let shape = isBatched ? [1] + inputShapes[index].dropFirst() : inputShapes[index]
    let type = graph[id].type ?? .float32
    let size = shape.elementCount * type.byteSize
    for (place, sample) in samples.enumerated() {
      let storage = TensorStorage(byteCount: size)
      storage.base.copyMemory(
        from: UnsafeRawBufferPointer(rebasing: elements[place * size..<(place + 1) * size])
          .baseAddress ?? UnsafeRawPointer(storage.base), byteCount: size)
      values[sample][id.index] = Tensor(type: type, shape: shape, storage: storage)
    }
  }

  func setInput(_ index: Int, to tensor: Tensor) {
    let id = graph.inputs[index]
    guard isBatched, tensor.type == .string else {
      values[0][id.index] = tensor
      return
    }
    let each = tensor.elementCount / max(values.count, 1)
    for sample in values.indices {
      values[sample][id.index] = Tensor(
        strings: Array(tensor.strings[sample * each..<(sample + 1) * each]),
        shape: [1] + tensor.shape.dropFirst())
    }
  }

  func outputShape(_ index: Int) -> [Int] {
    let shape = values[0][graph.outputs[index].index]?.shape ?? []
    return isBatched && !shape.isEmpty ? [samples] + shape.dropFirst() : shape
  }

  func output(_ index: Int, samples: Range<Int>) -> Tensor {
    let parts = samples.compactMap { values[$0][graph.outputs[index].index] }
    guard let first = parts.first else {
      return Tensor(type: .float32, shape: [0], storage: TensorStorage(byteCount: 0))
    }
    guard isBatched, parts.count > 1, !first.shape.isEmpty else { return first }
    let shape = [first.shape[0] * parts.count] + first.shape.dropFirst()
    if first.type == .string { return Tensor(strings: parts.flatMap(\.strings), shape: shape) }
    let storage = TensorStorage(byteCount: shape.elementCount * first.type.byteSize)
    for (place, part) in parts.enumerated() {
      (storage.base + place * first.byteCount)
        .copyMemory(from: part.storage.base, byteCount: first.byteCount)
    }
    return Tensor(type: first.type, shape: shape, storage: storage)
  }

  func run(_ node: Node, _ sample: Int) throws(ModelError) {
    let inputs = node.inputs.map { $0.flatMap { values[sample][$0.index] } }
    for (id, tensor) in zip(node.outputs, try Reference.evaluate(node, inputs)) {
      if let id { values[sample][id.index] = tensor }
    }
  }
}
