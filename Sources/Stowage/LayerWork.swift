import Compiler
import Models

/// What a layer has to compute, counted from its shapes: for devices that are not at hand.
enum LayerWork {
  /// Floating-point operations of one sample: two for each multiplication of convolutions and
  /// products, one for each element that other operators write.
  static func operations(_ layer: Layer, _ graph: Graph) -> Double {
    graph.nodes[layer.nodes].reduce(0) { $0 + operations($1, graph) }
  }

  /// Tiles of 64 x 64 elements of the largest output of one sample: how far the layer scales with
  /// compute units.
  static func blocks(_ layer: Layer, _ graph: Graph) -> Double {
    let blocks = graph.nodes[layer.nodes].map { node -> Double in
      let shape = sizes(node.outputs.first ?? nil, graph)
      let rows = shape.count > 1 ? shape[1] : 1
      let columns = shape.dropFirst(2).reduce(1, *)
      return (rows / 64).rounded(.up) * (columns / 64).rounded(.up)
    }
    return max(blocks.max() ?? 1, 1)
  }

  private static func operations(_ node: Node, _ graph: Graph) -> Double {
    let written = sizes(node.outputs.first ?? nil, graph).reduce(1, *)
    switch node.operation {
    case "Conv", "FusedConv":
      return 2 * written * weights(node, graph).dropFirst().reduce(1, *)
    case "ConvTranspose":
      let read = sizes(node.inputs.first ?? nil, graph).reduce(1, *)
      return 2 * read * weights(node, graph).dropFirst().reduce(1, *)
    case "Gemm", "FusedGemm", "MatMul", "FusedMatMul":
      let shape = sizes(node.inputs.first ?? nil, graph)
      var isTransposed = false
      if case .int(1)? = node.attributes["transA"] { isTransposed = true }
      return 2 * written * ((isTransposed ? shape.first : shape.last) ?? 1)
    default: return written
    }
  }

  private static func weights(_ node: Node, _ graph: Graph) -> [Double] {
    sizes(node.inputs.count > 1 ? node.inputs[1] : nil, graph)
  }

  /// The dimensions of a value of one sample; what a request decides counts as 1.
  private static func sizes(_ id: ValueID?, _ graph: Graph) -> [Double] {
    guard let id else { return [] }
    let value = graph[id]
    if let constant = value.constant { return constant.shape.map(Double.init) }
    return (value.shape ?? []).map { dimension in
      if case .fixed(let size) = dimension { Double(size) } else { 1 }
    }
  }
}
