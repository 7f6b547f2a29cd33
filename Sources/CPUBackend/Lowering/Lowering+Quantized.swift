import COneDNN
import Compiler
import Models
import Reference
import Vocabulary

extension Lowering {
  /// Kernels for 8-bit integers; nil where the operator is none of theirs.
  mutating func lowerQuantized(_ node: Node) throws(ModelError) -> Bool? {
    switch node.operation {
    case "QuantizeLinear": try lowerQuantize(node)
    case "DequantizeLinear": try lowerDequantize(node)
    case "DynamicQuantizeLinear": try lowerDynamicQuantize(node)
    case "QLinearConv", "QuantizedConv", "ConvInteger": try lowerIntegerConvolution(node)
    case "QLinearMatMul", "QuantizedMatMul", "MatMulInteger", "ScaledMatMulInteger":
      try lowerIntegerProduct(node)
    case "QuantizedAdd", "QuantizedMul": try lowerQuantizedPair(node)
    case "QuantizedGlobalAveragePool": try lowerQuantizedMean(node)
    case "Lookup": try lowerLookup(node)
    case "MaxPool": try lowerIntegerPool(node)
    default: nil
    }
  }

  private mutating func lowerQuantize(_ node: Node) throws(ModelError) -> Bool {
    guard let x = node.inputs[0], let y = node.outputs[0], constant(x) == nil,
      try type(x) == .float32
    else { return false }
    return try lowerScaling(node, x, y, .quantizing, type(y))
  }

  private mutating func lowerDequantize(_ node: Node) throws(ModelError) -> Bool {
    guard let x = node.inputs[0], let y = node.outputs[0], constant(x) == nil,
      try type(y) == .float32
    else { return false }
    let from = try type(x)
    return try lowerScaling(node, x, y, from == .int32 ? .dequantizingSums : .dequantizing, from)
  }

  /// - Parameter type: That of the integers.
  private mutating func lowerScaling(
    _ node: Node, _ x: ValueID, _ y: ValueID, _ direction: QuantizationKernel.Direction,
    _ type: ElementType
  ) throws(ModelError) -> Bool {
    guard type == .int8 || type == .uint8 || direction == .dequantizingSums,
      let scales = node.inputs[1].flatMap({ constant($0) }), let numbers = scales.singles
    else { return false }
    var zeros = [Int32](repeating: 0, count: numbers.count)
    if node.inputs.count > 2, let id = node.inputs[2] {
      guard let tensor = constant(id), tensor.elementCount == numbers.count,
        let found = tensor.bytes ?? (tensor.type == .int32 ? tensor.sums : nil)
      else { return false }
      zeros = found
    }
    let input = try shape(x)
    var (outer, inner, layout) = (1, input.elementCount, try forms[home(x)].layout)
    if layout == .blocked { layout = .channelsLast }
    if numbers.count > 1 {
      var axis = node.int("axis", default: 1)
      if axis < 0 { axis += input.count }
      guard input.indices.contains(axis), scales.shape == [input[axis]] else { return false }
      (outer, inner) = (input[..<axis].reduce(1, *), input[(axis + 1)...].reduce(1, *))
      layout = .plain
    }
    let real: ElementType = .float32
    let source = try value(x, layout, direction == .quantizing ? real : type)
    let target = try makeBuffer(y, layout)
    let kernel = QuantizationKernel(
      direction: direction, type: type, outer: outer, inner: inner, scales: numbers, zeros: zeros)
    steps.append(
      Plan.Step(kernel: kernel, operands: [.buffer(source), .buffer(target)], writes: 1))
    return true
  }

  private mutating func lowerDynamicQuantize(_ node: Node) throws(ModelError) -> Bool {
    guard let x = node.inputs[0], constant(x) == nil, try type(x) == .float32,
      node.outputs.count == 3
    else { return false }
    let count = try shape(x).elementCount
    let source = try value(x, .plain, .float32)
    var operands: [Plan.Operand] = [.buffer(source)]
    for output in node.outputs {
      guard let output else { return false }
      operands.append(.buffer(try makeBuffer(output, .plain)))
    }
    steps.append(
      Plan.Step(kernel: DynamicQuantizationKernel(count: count), operands: operands, writes: 3))
    return true
  }

  private mutating func lowerLookup(_ node: Node) throws(ModelError) -> Bool {
    guard let x = node.inputs[0], let y = node.outputs[0], let id = node.inputs[1],
      let table = constant(id), constant(x) == nil
    else { return false }
    let count = try shape(x).elementCount
    let source = try home(x)
    let entries = try model.plainWeight(table, id, layer: layer)
    let target = try makeBuffer(y, forms[source].layout)
    steps.append(
      Plan.Step(
        kernel: LookupKernel(count: count),
        operands: [.buffer(source), .weight(entries), .buffer(target)], writes: 1))
    return true
  }

  private mutating func lowerQuantizedPair(_ node: Node) throws(ModelError) -> Bool {
    func side(_ index: Int) -> QuantizedPairKernel.Side? {
      guard let x = node.inputs[index], constant(x) == nil,
        let scale = node.inputs[index + 1].flatMap({ constant($0)?.singles?.first })
      else { return nil }
      let zero = node.inputs[index + 2].flatMap { constant($0)?.bytes?.first } ?? 0
      let isSigned = facts[x.index].type == .int8
      return .init(scale: scale, source: .init(zero: zero, isSigned: isSigned))
    }
    guard let left = side(0), let right = side(3), let a = node.inputs[0], let b = node.inputs[3],
      let y = node.outputs[0], try shape(a) == shape(b), let range = realRange(node),
      let scale = node.inputs[6].flatMap({ constant($0)?.singles?.first }),
      let zero = node.inputs[7].flatMap({ constant($0)?.bytes?.first })
    else { return false }
    let first = try home(a)
    let second = try value(b, forms[first].layout)
    let kernel = QuantizedPairKernel(
      count: try shape(y).elementCount, left: left, right: right,
      multiplies: node.operation == "QuantizedMul", scale: scale,
      target: Quantizing.Target(
        zero: zero, try type(y), range: (range.low / scale, range.high / scale)))
    let target = try makeBuffer(y, forms[first].layout)
    steps.append(
      Plan.Step(
        kernel: kernel, operands: [.buffer(first), .buffer(second), .buffer(target)], writes: 1))
    return true
  }

  private mutating func lowerQuantizedMean(_ node: Node) throws(ModelError) -> Bool {
    guard let x = node.inputs[0], let y = node.outputs[0], constant(x) == nil,
      let scale = node.inputs[1].flatMap({ constant($0)?.singles?.first }),
      let result = node.inputs[3].flatMap({ constant($0)?.singles?.first }),
      let zero = node.inputs[4].flatMap({ constant($0)?.bytes?.first })
    else { return false }
    let input = try shape(x)
    let plane = input[2...].reduce(1, *)
    // Sums of more elements do not fit into single precision.
    guard (3...5).contains(input.count), (1...65_536).contains(plane) else { return false }
    let kernel = QuantizedMeanKernel(
      samples: input[0], channels: input[1], plane: plane,
      source: Quantizing.Source(
        zero: node.inputs[2].flatMap { constant($0)?.bytes?.first } ?? 0,
        isSigned: try type(x) == .int8),
      ratio: Float(Double(scale) / Double(result)),
      target: Quantizing.Target(zero: zero, try type(y)))
    let source = try value(x, .channelsLast)
    let target = try makeBuffer(y, .channelsLast)
    steps.append(
      Plan.Step(kernel: kernel, operands: [.buffer(source), .buffer(target)], writes: 1))
    return true
  }

  /// Largest integers of windows; nil for real numbers.
  private mutating func lowerIntegerPool(_ node: Node) throws(ModelError) -> Bool? {
    guard let x = node.inputs[0], constant(x) == nil, [.int8, .uint8].contains(try type(x)),
      (3...5).contains(try shape(x).count)
    else { return nil }
    return try lowerPool(node, from: value(x, .channelsLast))
  }
}

extension Tensor {
  /// The elements of an INT32 tensor.
  fileprivate var sums: [Int32] { withElements(as: Int32.self) { Array($0) } }
}
