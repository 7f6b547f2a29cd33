import Models

extension Program {
  /// Shapes of one sample's inputs to try the program with; nil where a rank is not known.
  ///
  /// Free sizes are the first of a few numbers with which no value is empty: a network for large
  /// pictures leaves nothing of a small one.
  public var exampleShapes: [[Int]]? {
    guard !freeSymbols.isEmpty else { return shapes(free: 1) }
    for size in [32, 64, 224, 640] {
      guard let shapes = shapes(free: size) else { return nil }
      guard let facts = try? ShapeInference.infer(graph, inputShapes: shapes) else { continue }
      let isEmpty = graph.nodes.contains { node in
        node.outputs.contains { id in
          id.flatMap { facts[$0.index].fixedShape }.map { $0.contains(0) } ?? false
        }
      }
      if !isEmpty { return shapes }
    }
    return shapes(free: 32)
  }

  private func shapes(free: Int) -> [[Int]]? {
    var shapes: [[Int]] = []
    for id in graph.inputs {
      guard let shape = graph[id].shape else { return nil }
      shapes.append(
        shape.map { dimension in
          guard case .symbol(let name) = dimension else {
            if case .fixed(let size) = dimension { return size }
            return 1
          }
          return freeSymbols.contains(name) ? free : 1
        })
    }
    return shapes
  }
}
