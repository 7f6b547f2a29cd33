import Backend
import COneDNN
import Models
import Vocabulary

/// What becomes of exact sums.
struct IntegerProductParameters {
  var operands: QuantizedOperands
  /// Zero points of the right factor as the kernel reads it.
  var zeros: [Int32]
  var target: ElementType
  /// What an activation cuts real results to.
  var range: (low: Float, high: Float)
  /// Scales that a request brings, and the real bias that follows them.
  var scales: ValueID?
  var bias: Tensor?
}

extension Lowering {
  /// Products of 8-bit integers, with weights or with another value.
  mutating func lowerIntegerProduct(_ node: Node) throws(ModelError) -> Bool {
    guard Processor.sumsExactly, let operands = QuantizedOperands(node, self),
      let y = node.outputs[0], constant(operands.x) == nil, let range = realRange(node)
    else { return false }
    let (left, result) = (try shape(operands.x), try shape(y))
    let right = try shape(operands.w)
    let isTransposed = node.int("transB", default: 0) != 0
    guard left.count >= 2, right.count >= 2, !result.contains(0), !left.contains(0) else {
      return false
    }
    let columns = right[right.count - (isTransposed ? 2 : 1)]
    guard operands.fit(columns) else { return false }
    var parameters = IntegerProductParameters(
      operands: operands, zeros: operands.weightZeros, target: try type(y), range: range)
    if node.operation == "ScaledMatMulInteger" {
      guard let scales = node.inputs[4] else { return false }
      parameters.scales = scales
      parameters.bias = node.inputs.count > 5 ? node.inputs[5].flatMap { constant($0) } : nil
      guard [1, columns].contains(try shape(scales).elementCount) else { return false }
    }
    var problem = IntegerProduct(
      rows: left[left.count - 2], inner: left[left.count - 1], columns: columns,
      batch: left.dropLast(2).reduce(1, *), rowStride: columns)
    if right.count == 2 {
      // The same right factor for all: one taller matrix.
      problem.rows *= problem.batch
      problem.batch = 1
    } else {
      guard right.dropLast(2) == left.dropLast(2), operands.weights == nil else { return false }
    }
    guard let weights = operands.weights else {
      return try appendIntegerProduct(
        problem, parameters, nil, isTransposed: isTransposed, y, layout: .plain)
    }
    guard weights.bytesAreSmall, let moved = operands.movedWeights() else { return false }
    var factor = moved.weights
    parameters.zeros = moved.zeros
    // Without zero points rows need not be summed up.
    if moved.zeros != [0],
      let centred = operands.centredWeights(axis: isTransposed ? 0 : right.count - 1)
    {
      factor = centred
      parameters.zeros = [0]
    }
    let flat = factor.reshaped([1] + right)
    return try appendIntegerProduct(
      problem, parameters, flat, isTransposed: isTransposed, y, layout: .plain)
  }

  /// - Parameter weights: The right factors [group, …], with columns before rows if transposed; nil
  ///   where a request brings them.
  mutating func appendIntegerProduct(
    _ problem: IntegerProduct, _ parameters: IntegerProductParameters, _ weights: Tensor?,
    isTransposed: Bool, _ y: ValueID, layout: Layout
  ) throws(ModelError) -> Bool {
    let operands = parameters.operands
    let leftType = try type(operands.x)
    guard leftType == .int8 || leftType == .uint8, weights != nil || !isTransposed else {
      return false
    }
    func primitive(_ form: MemoryDescriptor, rows: Int) -> Primitive? {
      Self.integerProduct(problem, rows: rows, leftType, form)
    }
    let (rows, inner, columns) = (problem.rows, problem.inner, problem.columns)
    let plain = MemoryDescriptor([inner, columns], .int8, .plain)
    let chosen =
      try weights == nil
      ? plain : weightForm(y, [inner, columns], type: .int8, rows: rows, primitive)
    guard let form = chosen, let product = primitive(form, rows: rows),
      let a = MemoryDescriptor([rows, inner], leftType, .plain),
      let sums = MemoryDescriptor(
        [rows, columns], .int32, strides: [problem.rowStride, 1])
    else { return false }
    let isDynamic = weights == nil
    let movesRight = isDynamic ? try type(operands.w) == .uint8 : false
    var zeros = parameters.zeros
    if movesRight { zeros = zeros.map { $0 - 128 } }
    let source = try value(operands.x, layout)
    var inputs: [Plan.Operand] = [.buffer(source)]
    if let weights {
      inputs.append(
        .weight(
          try packedFactors(weights, y, problem, isTransposed: isTransposed, form, operands)))
    } else {
      inputs.append(.buffer(try value(operands.w, .plain)))
    }
    inputs.append(
      .weight(
        try columnParameters(weights, y, problem, parameters, zeros, isTransposed: isTransposed)))
    if let id = operands.dynamicZero { inputs.append(.buffer(try value(id, .plain))) }
    var scaleCount = 0
    if let id = parameters.scales {
      scaleCount = try shape(id).elementCount
      inputs.append(.buffer(try value(id, .plain)))
    }
    let target = try makeBuffer(y, layout)
    inputs.append(.buffer(target))
    let kernel = IntegerProductKernel(
      problem: problem, primitive: product, descriptors: (a, form, sums),
      isLeftSigned: leftType == .int8, zero: operands.zero,
      hasDynamicZero: operands.dynamicZero != nil, dynamicScales: scaleCount,
      rightAdvance: isDynamic ? inner * columns : problem.groups > 1 ? Self.padded(form) : 0,
      isRightDynamic: isDynamic, movesRight: movesRight,
      hasRightZeros: zeros.contains { $0 != 0 },
      finish: finish(parameters), range: parameters.range)
    steps.append(Plan.Step(kernel: kernel, operands: inputs, writes: 1))
    return true
  }

  private func finish(_ parameters: IntegerProductParameters) -> IntegerProductKernel.Finish {
    if let result = parameters.operands.result {
      let range = parameters.range
      return .steps(
        Quantizing.Target(
          zero: result.zero, result.type,
          range: (range.low / result.scale, range.high / result.scale)))
    }
    return parameters.target == .int32 ? .sums : .reals
  }

  /// Exact sums: nothing is scaled, nothing is shifted.
  private static func integerProduct(
    _ problem: IntegerProduct, rows: Int, _ type: ElementType, _ form: MemoryDescriptor
  ) -> Primitive? {
    guard let left = MemoryDescriptor([rows, problem.inner], type, .plain),
      let sums = MemoryDescriptor(
        [rows, problem.columns], .int32, strides: [problem.rowStride, 1])
    else { return nil }
    return Primitive(.matrixProduct(left, form, destination: sums))
  }

  private static func padded(_ form: MemoryDescriptor) -> Int { (form.byteCount + 63) & ~63 }

  /// The right factors one after another, each in oneDNN's layout.
  private func packedFactors(
    _ weights: Tensor, _ y: ValueID, _ problem: IntegerProduct, isTransposed: Bool,
    _ form: MemoryDescriptor, _ operands: QuantizedOperands
  ) throws(ModelError) -> WeightPointer {
    let (inner, columns) = (problem.inner, problem.columns)
    let strides = isTransposed ? [1, inner] : [columns, 1]
    let advance = Self.padded(form)
    let place = try model.weights.place(
      layer: layer, name: "\(y.index) factors \(form.fingerprint)",
      byteCount: advance * problem.groups
    ) { (target) throws(ModelError) in
      for group in 0..<problem.groups {
        guard let from = MemoryDescriptor([inner, columns], .int8, strides: strides),
          let primitive = Primitive.copy(from, form)
        else { throw ModelError("A weight of shape \(weights.shape) cannot be packed.") }
        let scratchpad = UnsafeMutableRawPointer.allocate(
          byteCount: max(primitive.scratch, 64), alignment: 64)
        defer { scratchpad.deallocate() }
        let source = UnsafeMutableRawPointer(mutating: weights.storage.source)
        try primitive.run(
          [
            (DNNL.from, from, source + group * inner * columns),
            (DNNL.to, form, target + group * advance),
          ], scratchpad: scratchpad)
      }
      model.letGoWhileLoading(weights)
    }
    return WeightPointer(address: place)
  }

  private func columnParameters(
    _ weights: Tensor?, _ y: ValueID, _ problem: IntegerProduct,
    _ parameters: IntegerProductParameters, _ zeros: [Int32], isTransposed: Bool
  ) throws(ModelError) -> WeightPointer {
    let (count, operands) = (problem.outputs, parameters.operands)
    let (inner, columns) = (problem.inner, problem.columns)
    let place = try model.weights.place(
      layer: layer, name: "\(y.index) columns", byteCount: ColumnParameters.byteCount(count)
    ) { target in
      let integers = target.assumingMemoryBound(to: Int32.self)
      let floats = (target + 8 * count).assumingMemoryBound(to: Float.self)
      let factors = operands.weightScales.isEmpty ? nil : operands.factors(count)
      let biases = operands.biasInSums(count)
      for column in 0..<count {
        integers[column] = 0
        integers[count + column] = zeros[zeros.count == 1 ? 0 : column]
        floats[column] = factors?[column] ?? 1
        floats[count + column] = biases.map { Float($0[column] * Double(floats[column])) } ?? 0
      }
      parameters.bias?.withElements(as: Float.self) { bias in
        for column in 0..<count { floats[count + column] = bias[bias.count == 1 ? 0 : column] }
      }
      weights?.withElements(as: Int8.self) { elements in
        for index in elements.indices {
          let (group, place) = index.quotientAndRemainder(dividingBy: inner * columns)
          let column = isTransposed ? place / inner : place % columns
          integers[group * columns + column] &+= Int32(elements[index])
        }
      }
    }
    return WeightPointer(address: place)
  }
}
