import Backend
import Compiler
import Models
import Reference
import Vocabulary

/// Consecutive layers whose shapes are known before the first of them runs, or one whose are not.
struct Stage: Sendable {
  let program: Program
  let layers: Range<Int>
  /// The layers as a program of their own; nil where they are computed by their plain meaning.
  let model: CPUModel?

  init(_ program: Program, _ layers: Range<Int>, model: CPUModel?) {
    self.program = program
    self.layers = layers
    self.model = model
  }

  /// Whether a node's memory can be planned: what it reads and makes has elements of fixed size,
  /// and known shapes that are not empty.
  static func isPlanned(_ node: Node, in graph: Graph, _ facts: [ValueFacts]) -> Bool {
    (node.inputs + node.outputs).allSatisfy { id in
      guard let id else { return true }
      let fact = facts[id.index]
      guard let type = fact.type ?? graph[id].type, type != .string, let shape = fact.fixedShape
      else { return false }
      return graph[id].constant != nil || shape.elementCount > 0
    }
  }

  /// What some nodes of a graph need from outside, constants apart.
  static func inputs(_ nodes: ArraySlice<Node>, in graph: Graph) -> [ValueID] {
    var made: Set<ValueID> = []
    var needed: Set<ValueID> = []
    for node in nodes {
      for case let id? in node.inputs where graph[id].constant == nil && !made.contains(id) {
        needed.insert(id)
      }
      made.formUnion(node.outputs.compactMap { $0 })
    }
    return needed.sorted()
  }

  /// Some layers as a program, with all others empty so that layers keep their numbers.
  static func part(_ program: Program, _ range: Range<Int>, types: Graph) -> Program {
    let first = program.layers[range.lowerBound].nodes.lowerBound
    let nodes = first..<program.layers[range.upperBound - 1].nodes.upperBound
    var graph = program.graph
    graph.nodes = Array(program.graph.nodes[nodes])
    graph.inputs = inputs(graph.nodes[...], in: graph)
    for id in graph.inputs {
      graph[id].type = types[id].type
      graph[id].shape = nil
    }
    var readLater = Set(program.graph.outputs)
    for node in program.graph.nodes[nodes.upperBound...] {
      readLater.formUnion(node.inputs.compactMap { $0 })
    }
    graph.outputs = graph.nodes.flatMap { $0.outputs.compactMap { $0 } }
      .filter { readLater.contains($0) }
    let layers = program.layers.enumerated().map { index, layer in
      var layer = layer
      layer.nodes =
        range.contains(index)
        ? layer.nodes.lowerBound - first..<layer.nodes.upperBound - first : 0..<0
      return layer
    }
    return Program(
      graph: graph, layers: layers, batching: .whole(reason: "It is a part of a program."),
      freeSymbols: [])
  }
}

/// A stage on its way with one sample.
struct RunningStage {
  let layers: Range<Int>
  /// The memory of the layers' own program.
  let workspace: (any Workspace)?
  private let stage: Stage

  /// Copies in what the stage reads.
  ///
  /// A stage whose kernels cannot be made for these shapes is computed by its plain meaning.
  init(_ stage: Stage, _ tensors: TensorWorkspace, _ sample: Int) {
    self.stage = stage
    layers = stage.layers
    guard let model = stage.model else {
      workspace = nil
      return
    }
    let inputs = model.program.graph.inputs.compactMap { tensors[$0, sample] }
    workspace = try? model.makeWorkspace(samples: 1, inputShapes: inputs.map(\.shape))
    for (index, tensor) in inputs.enumerated() { workspace?.setInput(index, to: tensor) }
  }

  /// Runs some of its layers; with the last one its results become tensors.
  func run(
    _ range: Range<Int>, _ tensors: TensorWorkspace, _ sample: Int, units: Int
  ) throws(ModelError) {
    guard let model = stage.model, let workspace else {
      for layer in range { try runPlainly(layer, tensors, sample) }
      return
    }
    let isLast = range.upperBound == layers.upperBound
    // Steps that bring outputs into row-major order count as the program's last layer.
    let end = isLast ? model.program.layers.count : range.upperBound
    try model.run(range.lowerBound..<end, samples: 0..<1, in: workspace, units: units)
    guard isLast else { return }
    for (index, id) in model.program.graph.outputs.enumerated() {
      tensors[id, sample] = workspace.output(index, samples: 0..<1)
    }
  }

  private func runPlainly(
    _ layer: Int, _ tensors: TensorWorkspace, _ sample: Int
  ) throws(ModelError) {
    let program = stage.program
    for node in program.graph.nodes[program.layers[layer].nodes] {
      let inputs = node.inputs.map { $0.flatMap { tensors[$0, sample] } }
      for (id, tensor) in zip(node.outputs, try Reference.evaluate(node, inputs)) {
        if let id { tensors[id, sample] = tensor }
      }
    }
  }
}
