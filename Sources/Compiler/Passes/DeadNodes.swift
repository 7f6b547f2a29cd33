import Models

/// Removes nodes whose results nobody reads, and values that are left over.
enum DeadNodes {
  static func run(_ graph: inout Graph) {
    var isNeeded = Array(repeating: false, count: graph.values.count)
    for id in graph.outputs { isNeeded[id.index] = true }
    var kept: [Node] = []
    for node in graph.nodes.reversed() {
      let isRead = node.outputs.contains { $0.map { isNeeded[$0.index] } ?? false }
      guard isRead else { continue }
      for case let id? in node.inputs { isNeeded[id.index] = true }
      kept.append(node)
    }
    graph.nodes = kept.reversed()
    // Elements that nobody reads are dropped; their places stay, so that identifiers hold.
    for index in graph.values.indices where !isNeeded[index] {
      graph.values[index].constant = nil
    }
  }
}
