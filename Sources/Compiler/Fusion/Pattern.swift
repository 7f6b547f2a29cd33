import Models

/// Small questions that patterns ask of a graph.
extension Rewriter {
  /// The standard node of this kind that writes a value.
  func standard(_ operation: String, writing id: ValueID?) -> (index: Int, node: Node)? {
    guard let found = producer(of: id), found.node.domain.isEmpty,
      found.node.operation == operation
    else { return nil }
    return found
  }

  /// The standard node of this kind that writes a value which only one node reads.
  func single(_ operation: String, writing id: ValueID?) -> (index: Int, node: Node)? {
    onlyReader(of: id) == nil ? nil : standard(operation, writing: id)
  }

  /// The standard node of this kind that alone reads a value.
  func standardReader(_ operation: String, of id: ValueID?) -> (index: Int, node: Node)? {
    guard let found = onlyReader(of: id), found.node.domain.isEmpty,
      found.node.operation == operation
    else { return nil }
    return found
  }

  /// The only element of an FP32 constant.
  func scalar(_ id: ValueID?) -> Float? {
    guard let constant = constant(id), constant.elementCount == 1 else { return nil }
    return constant.floats?.first
  }

  /// The operand of a node with two inputs whose other operand is a scalar constant.
  func operandAndScalar(_ node: Node) -> (operand: ValueID, scalar: Float, isSecond: Bool)? {
    guard node.inputs.count == 2, let left = node.inputs[0], let right = node.inputs[1] else {
      return nil
    }
    if let scalar = scalar(right) { return (left, scalar, true) }
    if let scalar = scalar(left) { return (right, scalar, false) }
    return nil
  }

  /// The other operand of a node with two inputs.
  func other(_ node: Node, than id: ValueID) -> ValueID? {
    guard node.inputs.count == 2 else { return nil }
    return node.inputs[0] == id ? node.inputs[1] : node.inputs[1] == id ? node.inputs[0] : nil
  }

  /// The factor by which a node multiplies, or the reciprocal of that by which it divides.
  func scaling(_ node: Node) -> (operand: ValueID, factor: Float)? {
    guard node.domain.isEmpty, let (operand, scalar, isSecond) = operandAndScalar(node) else {
      return nil
    }
    switch node.operation {
    case "Mul": return (operand, scalar)
    case "Div" where isSecond: return (operand, 1 / scalar)
    default: return nil
    }
  }

  /// Whether two numbers are equal but for the rounding of single precision or a short decimal.
  static func isNear(_ number: Float, _ wanted: Float) -> Bool {
    abs(number - wanted) <= 1e-4 * abs(wanted)
  }
}
