public import Models
public import Vocabulary

extension Reference {
  /// Checks that inputs which ONNX binds to one type have one, and that strings are given where
  /// nothing else will do.
  ///
  /// - Parameter types: The type of each input; nil where it is left out or not known.
  /// - Throws: `ModelError`, naming the node and the types.
  public static func requireAlike(_ node: Node, _ types: [ElementType?]) throws(ModelError) {
    guard node.domain.isEmpty || node.domain == "stowage" else { return }
    if textsOnly.contains(node.operation),
      let place = types.firstIndex(where: { $0.map { $0 != .string } ?? false }),
      let found = types[place]
    {
      throw ModelError(
        "Node '\(node.name)' (\(node.operation), opset \(node.opset)) has input \(place) of type "
          + "\(found.rawValue), but it takes strings.")
    }
    if alike.contains(node.operation) {
      try requireAlike(node, types, Array(types.indices))
    }
    for group in groups[node.operation] ?? [] { try requireAlike(node, types, group) }
  }

  private static func requireAlike(
    _ node: Node, _ types: [ElementType?], _ group: [Int]
  ) throws(ModelError) {
    let known = group.filter { $0 < types.count && types[$0] != nil }
    guard let first = known.first, let wanted = types[first],
      let other = known.first(where: { types[$0] != wanted }), let found = types[other]
    else { return }
    throw ModelError(
      "Node '\(node.name)' (\(node.operation), opset \(node.opset)) has input \(first) of type "
        + "\(wanted.rawValue) and input \(other) of type \(found.rawValue), but they must be of "
        + "one type.")
  }

  /// Operators all of whose inputs share a type.
  private static let alike: Set<String> = [
    "Add", "And", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Clip", "Concat", "Conv",
    "ConvTranspose", "DeformConv", "Div", "Einsum", "Equal", "FusedConv", "FusedConvTranspose",
    "FusedGemm", "FusedMatMul", "Gemm", "Greater", "GreaterOrEqual", "GroupNormalization",
    "InstanceNormalization", "LayerNormalization", "Less", "LessOrEqual", "MatMul", "Max", "Mean",
    "Min", "Mod", "Mul", "Or", "PRelu", "RMSNormalization", "Range", "StringConcat", "Sub", "Sum",
    "SwiGLU", "Xor",
  ]

  /// Operators all of whose inputs are strings.
  private static let textsOnly: Set<String> = [
    "RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit",
  ]

  /// For other operators, the inputs that share a type.
  private static let groups: [String: [[Int]]] = [
    "BatchNormalization": [[1, 2], [3, 4]], "CausalConvWithState": [[0, 1, 2, 3]],
    "ConvInteger": [[0, 2], [1, 3]], "DequantizeLinear": [[0, 2]], "GRU": [[0, 1, 2, 3, 5]],
    "LSTM": [[0, 1, 2, 3, 5, 6, 7]], "LinearAttention": [[0, 1, 2, 4, 5]],
    "MatMulInteger": [[0, 2], [1, 3]], "MaxUnpool": [[1, 2]],
    "NegativeLogLikelihoodLoss": [[0, 2]], "Pad": [[0, 2]], "QLinearConv": [[0, 2], [3, 5]],
    "QLinearMatMul": [[0, 2], [3, 5]], "RNN": [[0, 1, 2, 3, 5]], "RoiAlign": [[0, 1]],
    "RotaryEmbedding": [[0, 1, 2]], "Scatter": [[0, 2]], "ScatterElements": [[0, 2]],
    "ScatterND": [[0, 2]], "SoftmaxCrossEntropyLoss": [[0, 2]], "TensorScatter": [[0, 1]],
    "Where": [[1, 2]],
  ]
}
