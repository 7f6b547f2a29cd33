import Models
import Reference
import Vocabulary

/// One node under inference: what is known of its inputs, and what a rule finds of its outputs.
struct NodeFacts {
  let node: Node
  let inputs: [ValueFacts?]
  var outputs: [ValueFacts]
  let sizes: SizeAlgebra

  init(_ node: Node, _ inputs: [ValueFacts?], _ sizes: SizeAlgebra) {
    self.node = node
    self.inputs = inputs
    self.sizes = sizes
    outputs = node.outputs.map { _ in ValueFacts() }
  }

  /// Whether an input is given.
  func has(_ index: Int) -> Bool { index < inputs.count && inputs[index] != nil }

  /// The dimensions of an input, when their number is known.
  func shape(_ index: Int) -> [Dimension]? { index < inputs.count ? inputs[index]?.shape : nil }

  /// The number of dimensions of an input, when known.
  func rank(_ index: Int) -> Int? { shape(index)?.count }

  /// The type of an input, when known.
  func type(_ index: Int) -> ElementType? { index < inputs.count ? inputs[index]?.type : nil }

  /// The elements of an integer input, some of which may be symbols.
  func knownSizes(_ index: Int) -> [Dimension]? {
    index < inputs.count ? inputs[index]?.known?.sizes : nil
  }

  /// The elements of an integer input, when all are numbers.
  func knownInts(_ index: Int) -> [Int]? { knownSizes(index)?.fixed }

  /// The elements of an FP32 input.
  func knownFloats(_ index: Int) -> [Float]? {
    guard index < inputs.count, case .tensor(let tensor)? = inputs[index]?.known,
      tensor.elementCount <= KnownElements.maximumCount
    else { return nil }
    return tensor.floats
  }

  /// Integers that early versions give as an attribute and later ones as an input.
  func list(_ name: String, orInput index: Int) -> [Int]? {
    node.ints(name) ?? knownInts(index)
  }

  /// Sets what is known of an output, when the node has it.
  mutating func set(
    _ index: Int, _ type: ElementType?, _ shape: [Dimension]?, known: KnownElements? = nil
  ) {
    guard index < outputs.count else { return }
    outputs[index] = ValueFacts(type: type, shape: shape, known: known)
  }

  /// Dimensions of which nothing but their number is known.
  func unknown(_ rank: Int, output: Int = 0) -> [Dimension] {
    (0..<rank).map { .symbol("\(node.name):\(output).\($0)") }
  }

  /// An axis counted from the front.
  func axis(_ axis: Int, rank: Int) throws(ModelError) -> Int {
    let counted = axis < 0 ? axis + rank : axis
    guard counted >= 0, counted < rank else {
      throw refusal("has axis \(axis) outside a tensor of \(rank) dimensions")
    }
    return counted
  }

  /// Axes counted from the front.
  func axes(_ axes: [Int], rank: Int) throws(ModelError) -> [Int] {
    var counted: [Int] = []
    for axis in axes { counted.append(try self.axis(axis, rank: rank)) }
    return counted
  }

  /// Two shapes broadcast against each other, aligned at their last dimensions.
  func broadcast(
    _ left: [Dimension], _ right: [Dimension]
  ) throws(ModelError) -> [Dimension] {
    let rank = max(left.count, right.count)
    var result: [Dimension] = []
    for place in 0..<rank {
      let a = place - (rank - left.count)
      let b = place - (rank - right.count)
      guard
        let size = sizes.broadcast(a < 0 ? .fixed(1) : left[a], b < 0 ? .fixed(1) : right[b])
      else {
        throw refusal("cannot broadcast shapes \(left.text) and \(right.text)")
      }
      result.append(size)
    }
    return result
  }

  /// An error about this node: the words follow its name and operator.
  func refusal(_ words: String) -> ModelError {
    ModelError("Node '\(node.name)' (\(node.operation), opset \(node.opset)) \(words).")
  }
}

extension Array where Element == Dimension {
  /// The dimensions as people write them.
  var text: String {
    let parts = map { dimension in
      switch dimension {
      case .fixed(let size): "\(size)"
      case .symbol(let symbol): symbol
      }
    }
    return "[" + parts.joined(separator: ", ") + "]"
  }
}
