import Models
import Vocabulary

/// Cuts products with large constant weights into tiles of output columns, so that no layer needs
/// more memory than a tile, and one tile can come in while the one before it runs.
enum LayerTiling {
  /// Columns of a tile come in multiples of these, so that kernels fill their vectors.
  private static let columnStep = 16

  /// Cuts every product whose weights take more than so many bytes.
  static func run(_ graph: inout Graph, tileBytes: Int) {
    var nodes: [Node] = []
    for node in graph.nodes {
      if let product = Product(node, graph), product.weights.byteCount > tileBytes {
        nodes += tiles(of: product, &graph, tileBytes)
      } else {
        nodes.append(node)
      }
    }
    graph.nodes = nodes
  }

  /// A product of activations with a constant matrix.
  private struct Product {
    let node: Node
    let weights: Tensor
    /// Whether a row of the weights stands for an output column.
    let isTransposed: Bool
    /// What is added to each row, one number per column; nil for none or for one number.
    let bias: Tensor?

    var columns: Int { weights.shape[isTransposed ? 0 : 1] }

    init?(_ node: Node, _ graph: Graph) {
      guard ["Gemm", "FusedGemm", "MatMul", "FusedMatMul"].contains(node.operation),
        node.inputs.count >= 2, node.inputs.count < 4 || node.inputs[3] == nil,
        let id = node.inputs[1], let weights = graph[id].constant, weights.type == .float32,
        weights.shape.count == 2, node.int("transA", default: 0) == 0
      else { return nil }
      self.node = node
      self.weights = weights
      isTransposed = node.int("transB", default: 0) != 0
      let columns = weights.shape[isTransposed ? 0 : 1]
      guard node.inputs.count > 2, let added = node.inputs[2] else {
        bias = nil
        return
      }
      guard let tensor = graph[added].constant, tensor.type == .float32 else { return nil }
      bias = tensor.elementCount == 1 ? nil : tensor
      guard tensor.elementCount == 1 || tensor.shape.last == columns,
        tensor.elementCount <= columns
      else { return nil }
    }

    /// The weights of some columns, copied when they are needed.
    func weights(_ range: Range<Int>) -> Tensor {
      let (weights, columns, rows) = (weights, columns, weights.elementCount / max(columns, 1))
      let shape = isTransposed ? [range.count, rows] : [rows, range.count]
      let isTransposed = isTransposed
      let storage = TensorStorage(
        byteCount: shape.elementCount * 4, from: [weights.storage]
      ) { target in
        let source = weights.storage.source
        if isTransposed {
          target.copyMemory(
            from: source + range.lowerBound * rows * 4, byteCount: range.count * rows * 4)
          return
        }
        for row in 0..<rows {
          (target + row * range.count * 4).copyMemory(
            from: source + (row * columns + range.lowerBound) * 4, byteCount: range.count * 4)
        }
      }
      return Tensor(type: .float32, shape: shape, storage: storage)
    }

    func bias(_ range: Range<Int>) -> Tensor? {
      bias?.withElements(as: Float.self) { elements in
        Tensor.make(.float32, [range.count], as: Float.self) { target in
          for (place, column) in range.enumerated() { target[place] = elements[column] }
        }
      }
    }
  }

  private static func tiles(
    of product: Product, _ graph: inout Graph, _ tileBytes: Int
  ) -> [Node] {
    let bytesPerColumn = product.weights.byteCount / product.columns
    let fitting = max(tileBytes / max(bytesPerColumn, 1), columnStep)
    let count = (product.columns + fitting - 1) / fitting
    let even = (product.columns + count - 1) / count
    let width = (even + columnStep - 1) / columnStep * columnStep
    guard width < product.columns else { return [product.node] }
    var (nodes, parts) = ([Node](), [ValueID?]())
    for start in stride(from: 0, to: product.columns, by: width) {
      let range = start..<min(start + width, product.columns)
      var tile = product.node
      tile.name += ":\(nodes.count)"
      tile.inputs[1] = graph.add(product.weights(range), name: "\(tile.name):weight")
      if let bias = product.bias(range) {
        tile.inputs[2] = graph.add(bias, name: "\(tile.name):bias")
      }
      let part = ValueID(graph.values.count)
      graph.values.append(Value(name: "\(tile.name):part", type: .float32))
      tile.outputs = [part]
      parts.append(part)
      nodes.append(tile)
    }
    nodes.append(
      Node(
        name: product.node.name, operation: "Concat", opset: max(product.node.opset, 13),
        inputs: parts, outputs: product.node.outputs, attributes: ["axis": .int(-1)]))
    return nodes
  }
}

extension Graph {
  fileprivate mutating func add(_ constant: Tensor, name: String) -> ValueID {
    values.append(
      Value(
        name: name, type: constant.type, shape: constant.shape.map(Dimension.fixed),
        constant: constant))
    return ValueID(values.count - 1)
  }
}
