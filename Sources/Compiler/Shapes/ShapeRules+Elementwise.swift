import Models
import Vocabulary

extension ShapeRules {
  static let elementwise = rules([
    (
      sameAsFirst,
      [
        "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "BitwiseNot", "Ceil", "Celu",
        "Clip", "Cos", "Cosh", "CumProd", "CumSum", "Elu", "Erf", "Exp", "Floor", "Gelu",
        "GroupNormalization", "HardSigmoid", "HardSwish", "Hardmax", "Identity",
        "InstanceNormalization", "LRN", "LeakyRelu", "Log", "LogSoftmax", "LpNormalization",
        "MeanVarianceNormalization", "Mish", "Neg", "Not", "PRelu", "RMSNormalization",
        "Reciprocal", "Relu", "ReverseSequence", "RotaryEmbedding", "Round", "Scatter",
        "ScatterElements", "ScatterND", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh",
        "Softmax", "Softplus", "Softsign", "Sqrt", "Swish", "Tan", "Tanh", "TensorScatter",
        "ThresholdedRelu", "Trilu",
      ]
    ),
    (
      arithmetic,
      [
        "Add", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Div", "Mod", "Mul", "Pow",
        "Sub",
      ]
    ),
    (variadic, ["Max", "Mean", "Min", "Sum"]),
    (
      comparison,
      ["And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Or", "Xor"]
    ),
    (test, ["IsInf", "IsNaN"]),
    (cast, ["Cast"]), (castLike, ["CastLike"]), (choose, ["Where"]), (dropout, ["Dropout"]),
    (batchNormalization, ["BatchNormalization"]), (layerNormalization, ["LayerNormalization"]),
  ])

  /// One input decides type and shape; known elements pass through Identity alone.
  static func sameAsFirst(_ facts: inout NodeFacts) throws(ModelError) {
    let known = facts.node.operation == "Identity" ? facts.inputs.first??.known : nil
    facts.set(0, facts.type(0), facts.shape(0), known: known)
  }

  /// Two inputs broadcast; sizes are computed with.
  static func arithmetic(_ facts: inout NodeFacts) throws(ModelError) {
    try broadcast(&facts, type: facts.type(0) ?? facts.type(1))
    guard let left = facts.inputs.first??.known, let right = facts.inputs.last??.known,
      facts.inputs.count == 2, let type = facts.outputs.first?.type,
      type == .int64 || type == .int32
    else { return }
    let operation: (Dimension, Dimension) -> Dimension?
    let sizes = facts.sizes
    switch facts.node.operation {
    case "Add": operation = { sizes.add($0, $1) }
    case "Sub": operation = { sizes.subtract($0, $1) }
    case "Mul": operation = { sizes.multiply($0, $1) }
    case "Div": operation = { isPositive($0) && isPositive($1) ? sizes.divide($0, by: $1) : nil }
    default: return
    }
    facts.outputs[0].known = combine(left, right, into: facts.outputs[0].fixedShape, operation)
  }

  /// Whether a size is not a number below 1, for which rounding would depend on the sign.
  private static func isPositive(_ size: Dimension) -> Bool {
    if case .fixed(let size) = size { size > 0 } else { true }
  }

  /// Any number of inputs, broadcast.
  static func variadic(_ facts: inout NodeFacts) throws(ModelError) {
    try broadcast(&facts, type: facts.type(0))
  }

  /// Two inputs, broadcast; the output is Boolean.
  static func comparison(_ facts: inout NodeFacts) throws(ModelError) {
    try broadcast(&facts, type: .bool)
    // Shape computations compare sizes with -1 to find those to be filled in.
    guard facts.node.operation == "Equal", let left = facts.inputs.first??.known,
      let right = facts.inputs.last??.known
    else { return }
    let known = combine(left, right, into: facts.outputs[0].fixedShape) { a, b in
      if a == b { return .fixed(1) }
      switch (a, b) {
      case (.fixed, .fixed): return .fixed(0)
      case (.fixed(let size), .symbol), (.symbol, .fixed(let size)):
        return size < 0 ? .fixed(0) : nil
      case (.symbol, .symbol): return nil
      }
    }
    facts.outputs[0].known = known
  }

  /// One Boolean for every element.
  static func test(_ facts: inout NodeFacts) throws(ModelError) {
    facts.set(0, .bool, facts.shape(0))
  }

  static func cast(_ facts: inout NodeFacts) throws(ModelError) {
    let type = try ElementType(onnx: facts.node.int("to", default: 0))
    let isInteger = type == .int64 || type == .int32
    let known = facts.inputs.first??.known
    var kept: KnownElements?
    if isInteger, case .sizes? = known { kept = known }
    facts.set(0, type, facts.shape(0), known: kept)
  }

  static func castLike(_ facts: inout NodeFacts) throws(ModelError) {
    facts.set(0, facts.type(1), facts.shape(0))
  }

  /// Three inputs, broadcast; the first is a condition.
  static func choose(_ facts: inout NodeFacts) throws(ModelError) {
    try broadcast(&facts, type: facts.type(1) ?? facts.type(2))
    guard let conditions = facts.knownInts(0), let yes = facts.knownSizes(1),
      let no = facts.knownSizes(2), let shape = facts.outputs.first?.fixedShape,
      conditions.count == yes.count, yes.count == no.count, shape.elementCount == yes.count
    else { return }
    let chosen = conditions.indices.map { conditions[$0] != 0 ? yes[$0] : no[$0] }
    facts.outputs[0].known = .sizes(shape: shape, chosen)
  }

  static func dropout(_ facts: inout NodeFacts) throws(ModelError) {
    facts.set(0, facts.type(0), facts.shape(0))
    facts.set(1, .bool, facts.shape(0))
  }

  static func batchNormalization(_ facts: inout NodeFacts) throws(ModelError) {
    facts.set(0, facts.type(0), facts.shape(0))
    for index in facts.outputs.indices.dropFirst() {
      facts.set(index, facts.type(3), facts.shape(3))
    }
  }

  static func layerNormalization(_ facts: inout NodeFacts) throws(ModelError) {
    facts.set(0, facts.type(0), facts.shape(0))
    guard let shape = facts.shape(0) else { return }
    let axis = try facts.axis(facts.node.int("axis", default: -1), rank: shape.count)
    let reduced = shape.indices.map { $0 < axis ? shape[$0] : .fixed(1) }
    facts.set(1, .float32, reduced)
    facts.set(2, .float32, reduced)
  }

  /// Sets the shape of all inputs broadcast against one another.
  private static func broadcast(
    _ facts: inout NodeFacts, type: ElementType?
  ) throws(ModelError) {
    var shape: [Dimension]? = []
    for index in facts.inputs.indices {
      guard let known = shape, let next = facts.shape(index) else {
        shape = nil
        break
      }
      shape = try facts.broadcast(known, next)
    }
    facts.set(0, type, shape)
  }

  /// Applies an operation element by element, repeating a single one.
  ///
  /// - Returns: Nothing when elements pair up in any other way, as those of a row and a column do.
  private static func combine(
    _ left: KnownElements, _ right: KnownElements, into shape: [Int]?,
    _ operation: (Dimension, Dimension) -> Dimension?
  ) -> KnownElements? {
    guard let shape, let a = left.sizes, let b = right.sizes,
      a.count == b.count || a.count == 1 || b.count == 1,
      shape.elementCount == max(a.count, b.count)
    else { return nil }
    var result: [Dimension] = []
    for index in 0..<shape.elementCount {
      guard let size = operation(a[a.count == 1 ? 0 : index], b[b.count == 1 ? 0 : index]) else {
        return nil
      }
      result.append(size)
    }
    return .sizes(shape: shape, result)
  }
}
