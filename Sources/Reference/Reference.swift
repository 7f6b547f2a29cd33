public import Models
import Vocabulary

/// Every operator in plain Swift, written to be obviously right rather than fast.
///
/// Real numbers are computed in double precision and rounded once, integers in 128 bits and
/// truncated once, so that no operator has an overflow or a rounding of its own.
public enum Reference {
  /// An operator: node and inputs to outputs.
  typealias Operator = @Sendable (Call) throws(ModelError) -> [Tensor?]

  /// Applies one node to its inputs.
  ///
  /// - Parameters:
  ///   - node: The node, with its operator set version; standard or `stowage` domain.
  ///   - inputs: One tensor per input of the node, nil where an optional one is left out.
  /// - Returns: One tensor per output of the node, left-out ones included as nil.
  /// - Throws: `ModelError`, when the operator is not known or its inputs do not fit.
  public static func evaluate(_ node: Node, _ inputs: [Tensor?]) throws(ModelError) -> [Tensor?] {
    guard let apply = table[Self.key(node.domain, node.operation)] else {
      throw ModelError(
        "Node '\(node.name)' uses operator \(node.operation) of opset \(node.opset), "
          + "which is not supported.")
    }
    let call = Call(node: node, inputs: inputs)
    guard inputs.allSatisfy({ $0?.type != .string }) || textual.contains(node.operation) else {
      throw call.error("strings are not numbers.")
    }
    try requireAlike(node, inputs.map { $0?.type })
    return try apply(call)
  }

  /// Operators that take strings as one of their inputs.
  private static let textual: Set<String> = [
    "ArrayFeatureExtractor", "Cast", "CastLike", "CenterCropPad", "Compress", "Concat", "Dropout",
    "Equal", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "If",
    "LabelEncoder", "Loop", "OneHot", "OptionalGetElement", "OptionalHasElement", "Pad",
    "RegexFullMatch", "Reshape", "ReverseSequence", "Scan", "Scatter", "ScatterElements",
    "ScatterND", "Shape", "Size", "Slice", "Split", "Squeeze", "StringConcat",
    "StringNormalizer", "StringSplit", "TfIdfVectorizer", "Tile", "Transpose", "Unique",
    "Unsqueeze", "Where",
  ]

  /// Whether an operator is known at all.
  public static func knows(_ operation: String, domain: String) -> Bool {
    table[key(domain, operation)] != nil
  }

  /// Checks that every operator of a graph is known.
  ///
  /// - Throws: `ModelError`, naming the node that is not.
  public static func requireKnown(_ graph: Graph) throws(ModelError) {
    for node in graph.nodes where !knows(node.operation, domain: node.domain) {
      throw ModelError(
        "Node '\(node.name)' uses operator \(node.operation) of opset \(node.opset), which is "
          + "not supported.")
    }
  }

  static func key(_ domain: String, _ operation: String) -> String {
    domain.isEmpty || domain == "ai.onnx" ? operation : "\(domain).\(operation)"
  }

  /// Every operator by its name, domain in front where it is not the standard one.
  static let table: [String: Operator] = {
    var table: [String: Operator] = [:]
    for family in [
      elementwise, activations, comparisons, shaping, slicing, joining, convolutions, pooling,
      normalisations, products, reductions, creations, casts, fused, attentions, quantization,
      fusedQuantization, control, scattering, selection, einsums, recurrent, resizing, losses,
      sampling, transposedConvolutions, detection, signals, texts, stateSpaces, training, learning,
    ] { table.merge(family) { _, new in new } }
    return table
  }()
}

extension Int {
  /// Cut to ±2³²: no axis is longer, and sums and products of two such numbers do not overflow.
  var asSize: Int { Swift.min(Swift.max(self, -1 << 32), 1 << 32) }
}

/// One application of a node: its attributes and inputs, with errors that name it.
struct Call {
  let node: Node
  let inputs: [Tensor?]

  /// A sentence about this node.
  func error(_ sentence: String) -> ModelError {
    ModelError("Node '\(node.name)' (\(node.operation), opset \(node.opset)): \(sentence)")
  }

  /// An input that must be there.
  func input(_ index: Int) throws(ModelError) -> Tensor {
    guard index < inputs.count, let tensor = inputs[index] else {
      throw error("input \(index) is missing.")
    }
    return tensor
  }

  /// The first element of an input that must have one.
  func number(_ index: Int) throws(ModelError) -> Double {
    guard let number = try input(index).reals().first else {
      throw error("input \(index) is empty.")
    }
    return number
  }

  /// An input that may be left out.
  func optional(_ index: Int) -> Tensor? { index < inputs.count ? inputs[index] : nil }

  /// Integers that older opsets give as an attribute and newer ones as an input.
  func integers(_ name: String, orInput index: Int) -> [Int]? {
    ints(name) ?? optional(index)?.sizes()
  }

  /// The integer attribute of this name, bounded as `Int.asSize` is, or a default.
  func int(_ name: String, default fallback: Int) -> Int {
    node.int(name, default: fallback).asSize
  }

  /// The integers of this name, bounded as `Int.asSize` is, or nil.
  func ints(_ name: String) -> [Int]? { node.ints(name)?.map(\.asSize) }

  /// A shape that can be made: no negative sizes, and not too many elements.
  func sized(_ shape: [Int]) throws(ModelError) -> [Int] {
    var count = 1
    for size in shape {
      let (product, overflow) = count.multipliedReportingOverflow(by: size)
      guard size >= 0, !overflow, product <= Limits.computedElements else {
        throw error("a tensor of shape \(shape) cannot be made.")
      }
      count = product
    }
    return shape
  }

  /// An axis that a tensor has, made non-negative.
  func axis(_ axis: Int, in x: Tensor) throws(ModelError) -> Int {
    guard !x.shape.isEmpty else { throw error("a scalar has no axes.") }
    return try self.axis(axis, rank: x.shape.count)
  }

  /// An axis between -rank and rank - 1, made non-negative.
  func axis(_ axis: Int, rank: Int) throws(ModelError) -> Int {
    guard axis >= -rank, axis < max(rank, 1) else {
      throw error("axis \(axis) does not exist in a tensor of rank \(rank).")
    }
    return axis < 0 ? axis + rank : axis
  }
}
