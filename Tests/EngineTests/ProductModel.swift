import Compiler
import Models
import Vocabulary

/// A model of one product, [n, 2] by [2, 3], over samples of two numbers.
///
/// - Parameter weight: The weight at each place of the row-major matrix.
func makeProduct(weight: (Int) -> Float) throws -> Program {
  let weights = Tensor.make(.float32, [2, 3], as: Float.self) { elements in
    for index in elements.indices { elements[index] = weight(index) }
  }
  return try Compiler.compile(
    Graph(
      name: "g",
      values: [
        Value(name: "x", type: .float32, shape: [.symbol("n"), .fixed(2)]),
        Value(name: "w", type: .float32, shape: [.fixed(2), .fixed(3)], constant: weights),
        Value(name: "y", type: .float32, shape: [.symbol("n"), .fixed(3)]),
      ],
      nodes: [
        Node(
          name: "product", operation: "MatMul", opset: 13, inputs: [ValueID(0), ValueID(1)],
          outputs: [ValueID(2)])
      ],
      inputs: [ValueID(0)], outputs: [ValueID(2)]))
}
