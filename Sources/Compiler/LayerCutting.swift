import Models

/// Cuts a program into layers: one node each, with the nodes that cost nothing beside it.
enum LayerCutting {
  /// Nodes that move no data or next to none.
  private static let free: Set<String> = [
    "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Shape", "Size",
  ]

  /// The layers of a graph.
  ///
  /// - Parameter states: Where values carry samples, when samples are independent. A border lies
  ///   only where every value that crosses it has its samples on the first axis, so that parts of
  ///   a batch are contiguous in memory.
  static func run(_ graph: Graph, states: [BatchState]?) -> [Layer] {
    let lastUse = lastUses(graph)
    var live: Set<ValueID> = []
    for id in graph.inputs where lastUse[id.index] != nil { live.insert(id) }
    var layers: [Layer] = []
    var start = 0
    for (index, node) in graph.nodes.enumerated() {
      for case let id? in node.outputs where lastUse[id.index] != nil { live.insert(id) }
      live = live.filter { lastUse[$0.index].map { $0 > index } ?? false }
      let nodes = graph.nodes[start...index]
      let isLast = index == graph.nodes.count - 1
      guard isLast || canCut(after: nodes, before: graph.nodes[index + 1], live, states) else {
        continue
      }
      layers.append(layer(graph, start..<index + 1, live))
      start = index + 1
    }
    return layers
  }

  /// Whether a border may lie here.
  private static func canCut(
    after nodes: ArraySlice<Node>, before next: Node, _ live: Set<ValueID>, _ states: [BatchState]?
  ) -> Bool {
    // Free nodes go with the node before them, and those at the very start with the next.
    if nodes.allSatisfy({ free.contains($0.operation) }) || free.contains(next.operation) {
      return false
    }
    guard let states else { return true }
    return live.allSatisfy { id in
      guard id.index < states.count, case .samples(let axis, _) = states[id.index] else {
        return true
      }
      return axis == 0
    }
  }

  /// For each value the last node that reads it; past the end for outputs; nil when nobody does.
  private static func lastUses(_ graph: Graph) -> [Int?] {
    var lastUse = Array(repeating: Int?.none, count: graph.values.count)
    for (index, node) in graph.nodes.enumerated() {
      for case let id? in node.inputs { lastUse[id.index] = index }
    }
    for id in graph.outputs { lastUse[id.index] = graph.nodes.count }
    for (index, value) in graph.values.enumerated() where value.constant != nil {
      lastUse[index] = nil
    }
    return lastUse
  }

  private static func layer(_ graph: Graph, _ range: Range<Int>, _ live: Set<ValueID>) -> Layer {
    let nodes = graph.nodes[range]
    let main = nodes.first { !free.contains($0.operation) } ?? graph.nodes[range.lowerBound]
    var weights: Set<ValueID> = []
    for node in nodes {
      for case let id? in node.inputs where graph[id].constant != nil { weights.insert(id) }
    }
    return Layer(
      name: main.name, nodes: range, weights: weights.sorted(), liveAfter: live.sorted())
  }
}
