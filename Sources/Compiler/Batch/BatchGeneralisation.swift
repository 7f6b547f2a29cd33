import Models
import Vocabulary

/// Gives a graph that was exported for one sample, or for a named number of them, a batch symbol.
///
/// A file that fixes the batch at 1 means: this, for each sample. So where such a file writes the 1
/// into a constant, as the target of a Reshape, the constant is changed to hold for any batch.
/// Whether the outcome treats samples independently is for `BatchAnalysis` to prove.
enum BatchGeneralisation {
  /// The graph with the same symbol as first dimension of all inputs.
  static func run(_ graph: Graph) throws(BatchRefusal) -> (graph: Graph, symbol: String) {
    guard !graph.inputs.isEmpty else { throw BatchRefusal(reason: "the model has no inputs") }
    var symbol: String?
    var isFixedAtOne = false
    for id in graph.inputs {
      switch graph[id].shape?.first {
      case .symbol(let name)?: symbol = symbol ?? name
      case .fixed(1)?: isFixedAtOne = true
      case .fixed(let size)?:
        throw BatchRefusal(
          reason: "input '\(graph[id].name)' has its first dimension fixed at \(size)")
      case nil:
        throw BatchRefusal(reason: "input '\(graph[id].name)' has no dimension for samples")
      }
    }
    let batch = symbol ?? unusedName(graph)
    var general = graph
    for id in graph.inputs { general[id].shape?[0] = .symbol(batch) }
    guard isFixedAtOne else { return (general, batch) }
    do {
      try rewriteConstants(of: &general, original: graph, batch)
    } catch {
      throw BatchRefusal(reason: error.description)
    }
    return (general, batch)
  }

  private static func unusedName(_ graph: Graph) -> String {
    let taken = Set(graph.inputs.flatMap { graph[$0].shape ?? [] })
    var name = "batch"
    while taken.contains(.symbol(name)) { name += "'" }
    return name
  }

  /// Follows the shapes for one sample and for any number side by side, and changes the constants
  /// where they part.
  private static func rewriteConstants(
    of graph: inout Graph, original: Graph, _ symbol: String
  ) throws(ModelError) {
    let sizes = SizeAlgebra()
    var single = InferencePass(
      original, inputs: original.inputs.map { original[$0].shape }, sizes: sizes)
    var batched = InferencePass(graph, inputs: graph.inputs.map { graph[$0].shape }, sizes: sizes)
    var nodes: [Node] = []
    for node in original.nodes {
      try single.visit(node)
      let added = rewrite(node, single.facts, batched.facts, symbol, sizes, &graph)
      for value in graph.values[batched.facts.count...] { batched.append(value) }
      for node in added {
        try batched.visit(node)
        nodes.append(node)
      }
    }
    graph.nodes = nodes
  }

  /// What stands for a node when there are several samples.
  private static func rewrite(
    _ node: Node, _ single: [ValueFacts], _ batched: [ValueFacts], _ symbol: String,
    _ sizes: SizeAlgebra, _ graph: inout Graph
  ) -> [Node] {
    func carriesSamples(_ id: ValueID?) -> Bool {
      guard let id, let first = batched[id.index].shape?.first else { return false }
      return sizes.depends(first, on: symbol)
    }
    switch node.operation {
    case "Reshape" where carriesSamples(node.inputs.first ?? nil):
      return [reshape(node, single, batched, symbol, sizes, &graph)]
    case "Resize" where carriesSamples(node.inputs.first ?? nil):
      return [resize(node, single, batched, &graph)]
    case "Concat":
      guard let carrying = node.inputs.first(where: carriesSamples) ?? nil else { return [node] }
      return concat(node, carrying, single, batched, carriesSamples, &graph)
    case "LSTM", "GRU", "RNN": return [recurrence(node, batched)]
    default: return [node]
    }
  }

  /// Leaves open, or copies, the first dimension of a constant target.
  private static func reshape(
    _ node: Node, _ single: [ValueFacts], _ batched: [ValueFacts], _ symbol: String,
    _ sizes: SizeAlgebra, _ graph: inout Graph
  ) -> Node {
    guard node.inputs.count == 2, let input = node.inputs[0], let target = node.inputs[1],
      let output = node.outputs.first ?? nil,
      var wanted = batched[target.index].known?.sizes?.fixed,
      let first = wanted.first, let result = single[output.index].shape,
      node.int("allowzero", default: 0) == 0, first > 0
    else { return node }
    if let rows = batched[input.index].shape?.first,
      sizes.multiple(of: symbol, in: rows) == .fixed(first)
    {
      wanted[0] = 0
    } else if let rest = Array(result.dropFirst()).fixed {
      wanted = [-1] + rest
    } else {
      return node
    }
    let constant = Tensor.int64s(wanted)
    var general = node
    graph.values.append(
      Value(
        name: graph[target].name + ":batched", type: .int64, shape: [.fixed(wanted.count)],
        constant: constant))
    general.inputs[1] = ValueID(graph.values.count - 1)
    return general
  }

  /// Names the axes of constant sizes, all but the first.
  private static func resize(
    _ node: Node, _ single: [ValueFacts], _ batched: [ValueFacts], _ graph: inout Graph
  ) -> Node {
    guard node.opset >= 11, node.ints("axes") == nil, node.inputs.count > 3,
      let input = node.inputs[0], let target = node.inputs[3],
      let wanted = batched[target.index].known?.sizes?.fixed, wanted.count > 1,
      single[input.index].shape?.first == .fixed(wanted[0]),
      node.string("coordinate_transformation_mode", default: "half_pixel") != "tf_crop_and_resize"
    else { return node }
    let constant = Tensor.int64s(Array(wanted.dropFirst()))
    var general = node
    general.opset = max(node.opset, 18)
    general.attributes["axes"] = .ints(Array(1..<wanted.count))
    graph.values.append(
      Value(
        name: graph[target].name + ":batched", type: .int64, shape: [.fixed(wanted.count - 1)],
        constant: constant))
    general.inputs[3] = ValueID(graph.values.count - 1)
    return general
  }

  /// Repeats what all samples share, such as a class token, for each of them.
  private static func concat(
    _ node: Node, _ carrying: ValueID, _ single: [ValueFacts], _ batched: [ValueFacts],
    _ carriesSamples: (ValueID?) -> Bool, _ graph: inout Graph
  ) -> [Node] {
    let axis = node.int("axis", default: 1)
    var added: [Node] = []
    var general = node
    for (place, input) in node.inputs.enumerated() {
      guard let input, !carriesSamples(input), let shape = batched[input.index].fixedShape,
        shape.first == 1, axis != 0, axis != -shape.count, shape.count > 1
      else { continue }
      let names = ["count", "shape", "repeated"].map { "\(node.name):\(place).\($0)" }
      let ids = names.map { name in
        graph.values.append(Value(name: name))
        return ValueID(graph.values.count - 1)
      }
      let ones = Tensor.int64s(Array(repeating: 1, count: shape.count - 1))
      graph.values.append(
        Value(
          name: names[1] + ".ones", type: .int64, shape: [.fixed(shape.count - 1)],
          constant: ones))
      let rest = ValueID(graph.values.count - 1)
      added += [
        Node(
          name: names[0], operation: "Shape", opset: 15, inputs: [carrying], outputs: [ids[0]],
          attributes: ["start": .int(0), "end": .int(1)]),
        Node(
          name: names[1], operation: "Concat", opset: 13, inputs: [ids[0], rest],
          outputs: [ids[1]], attributes: ["axis": .int(0)]),
        Node(
          name: names[2], operation: "Expand", opset: 13, inputs: [input, ids[1]],
          outputs: [ids[2]]),
      ]
      general.inputs[place] = ids[2]
    }
    return added + [general]
  }

  /// Leaves out initial states of zeros, which are what is meant when there are none.
  private static func recurrence(_ node: Node, _ batched: [ValueFacts]) -> Node {
    var general = node
    for place in [5, 6] where place < node.inputs.count {
      guard let id = node.inputs[place], case .tensor(let tensor)? = batched[id.index].known,
        tensor.floats?.allSatisfy({ $0 == 0 }) ?? false
      else { continue }
      general.inputs[place] = nil
    }
    return general
  }
}
