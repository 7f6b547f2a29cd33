import Models
import Reference
import Vocabulary

extension Folding {
  /// Functions of one number: 256 results replace them.
  private static let unary: Set<String> = [
    "Abs", "Clip", "Elu", "Exp", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "Neg",
    "Relu", "Sigmoid", "Softplus", "Sqrt", "Tanh",
  ]

  /// Replaces functions of one dequantised number by a table of their quantised results.
  mutating func lookUp(_ node: Node, at index: Int, _ result: [ValueID?]) -> Bool {
    var (chain, taken, end) = ([node], [index], node.inputs[0])
    while let found = rewriter.producer(of: end), found.node.domain.isEmpty,
      Self.unary.contains(found.node.operation), rewriter.onlyReader(of: end) != nil
    {
      chain.append(found.node)
      taken.append(found.index)
      end = found.node.inputs[0]
    }
    guard let x = operand(end), rewriter.constant(x.inputs[0]) == nil else { return false }
    if chain.count == 1, meanTheSame(x.node, node), let source = x.inputs[0],
      let target = node.outputs[0], rewriter.producer(of: source) != nil,
      rewriter.redirect(target, to: source)
    {
      rewriter.remove(index)
      return true
    }
    chain.append(x.node)
    guard let table = table(chain.reversed(), of: x.type) else { return false }
    rewriter.fuse(taken, into: lookup(node, x.inputs[0], table, node.outputs))
    return true
  }

  /// What a chain of nodes makes of each 8-bit integer.
  mutating func table(_ chain: [Node], of type: ElementType) -> ValueID? {
    var tensor: Tensor? = Tensor.make(type, [256], as: UInt8.self) { elements in
      for index in elements.indices { elements[index] = UInt8(index) }
    }
    for node in chain {
      let others = node.inputs.dropFirst().map { rewriter.constant($0) }
      guard zip(others, node.inputs.dropFirst()).allSatisfy({ $0 != nil || $1 == nil }),
        let input = tensor,
        let output = try? Reference.evaluate(node, [input] + others).first
      else { return nil }
      tensor = output
    }
    guard let tensor, tensor.elementCount == 256, tensor.type == .int8 || tensor.type == .uint8
    else { return nil }
    return rewriter.add(tensor, name: (chain.last?.name ?? "") + ":table")
  }

  // MARK: Operands

  /// What a DequantizeLinear reads, where all elements share a scale.
  func operand(_ id: ValueID?) -> QuantizedOperand? {
    guard let node = rewriter.standard("DequantizeLinear", writing: id)?.node,
      node.inputs.count >= 2, rewriter.scalar(node.inputs[1]) != nil,
      node.attributes["output_dtype"] == nil, let type = type(node.inputs[0]),
      type == .int8 || type == .uint8
    else { return nil }
    let zero = node.inputs.count > 2 ? node.inputs[2] : nil
    guard zero.map({ rewriter.constant($0)?.elementCount == 1 }) ?? true else { return nil }
    return QuantizedOperand(
      inputs: [node.inputs[0], node.inputs[1], zero], node: node, type: type)
  }

  /// Constant weights with one scale, or one for each slice of their axis of outputs.
  func weights(_ id: ValueID?, axis: Int) -> QuantizedOperand? {
    if let single = operand(id) { return rewriter.constant(single.inputs[0]) == nil ? nil : single }
    guard let node = rewriter.standard("DequantizeLinear", writing: id)?.node,
      node.inputs.count >= 2, node.attributes["output_dtype"] == nil,
      node.int("block_size", default: 0) == 0, let tensor = rewriter.constant(node.inputs[0]),
      tensor.type == .int8 || tensor.type == .uint8,
      let scale = rewriter.constant(node.inputs[1]), scale.type == .float32,
      tensor.shape.indices.contains(axis), scale.shape == [tensor.shape[axis]]
    else { return nil }
    let named = node.int("axis", default: 1)
    let zero = node.inputs.count > 2 ? node.inputs[2] : nil
    guard (named < 0 ? named + tensor.shape.count : named) == axis,
      zero.map({ rewriter.constant($0)?.shape == scale.shape }) ?? true
    else { return nil }
    return QuantizedOperand(
      inputs: [node.inputs[0], node.inputs[1], zero], node: node, type: tensor.type)
  }

  private func type(_ id: ValueID?) -> ElementType? {
    guard let id else { return nil }
    return rewriter.constant(id)?.type ?? (id.index < facts.count ? facts[id.index].type : nil)
      ?? rewriter[id].type
  }

  func shape(_ id: ValueID) -> [Dimension]? {
    if let constant = rewriter.constant(id) { return constant.shape.map(Dimension.fixed) }
    return id.index < facts.count ? facts[id.index].shape : nil
  }

  /// Whether integers before one node and after another stand for the same numbers.
  func meanTheSame(_ dequantize: Node, _ quantize: Node) -> Bool {
    func zero(_ node: Node) -> (type: ElementType?, value: Int?) {
      guard node.inputs.count > 2, let id = node.inputs[2], let tensor = rewriter.constant(id)
      else { return (node.operation == "QuantizeLinear" ? .uint8 : type(node.inputs[0]), 0) }
      return (tensor.type, tensor.elementCount == 1 ? tensor.integers()?.first : nil)
    }
    let (before, after) = (zero(dequantize), zero(quantize))
    let scale = rewriter.scalar(dequantize.inputs[1])
    return before.type == after.type && before.value != nil && before.value == after.value
      && scale != nil && scale == rewriter.scalar(quantize.inputs[1])
  }

  /// The zero point of a node; one of zeros is made where it is left out.
  mutating func zeroPoint(of node: Node, perTensor: Bool) -> ValueID? {
    if node.inputs.count > 2, let given = node.inputs[2] {
      guard let tensor = rewriter.constant(given), [.int8, .uint8].contains(tensor.type),
        !perTensor || tensor.elementCount == 1
      else { return nil }
      return given
    }
    return rewriter.add(.make(.uint8, [], as: UInt8.self) { _ in }, name: "\(node.name):zero")
  }

  /// A bias as real numbers in one row: given so, or as integers with a scale.
  mutating func realBias(_ id: ValueID) -> ValueID? {
    var tensor = rewriter.constant(id)
    if tensor == nil, let node = rewriter.standard("DequantizeLinear", writing: id)?.node {
      let operands = node.inputs.map { rewriter.constant($0) }
      guard zip(operands, node.inputs).allSatisfy({ $0 != nil || $1 == nil }) else { return nil }
      tensor = (try? Reference.evaluate(node, operands))?.first ?? nil
    }
    guard let tensor, tensor.type == .float32, tensor.shape.last == tensor.elementCount else {
      return nil
    }
    if tensor.shape.count == 1, rewriter.constant(id) != nil { return id }
    return rewriter.add(
      tensor.reshaped([tensor.elementCount]), name: rewriter[id].name + ":bias")
  }
}
