import COneDNN
import Models
import Vocabulary

extension Lowering {
  /// A product with constant weights, bias, residual and activation in one kernel.
  mutating func lowerGemm(_ node: Node) throws(ModelError) -> Bool {
    guard let a = node.inputs[0], let b = node.inputs[1], let weights = constant(b),
      weights.shape.count == 2, weights.type == .float32, try type(a) == .float32,
      node.int("transA", default: 0) == 0
    else { return false }
    let bias = node.inputs.count > 2 ? node.inputs[2] : nil
    let isTransposed = node.int("transB", default: 0) != 0
    let columns = isTransposed ? weights.shape[0] : weights.shape[1]
    guard fitsBias(bias, columns), node.float("alpha", default: 1) == 1,
      bias == nil || node.float("beta", default: 1) == 1
    else { return false }
    return try lowerInnerProduct(
      node, a, (weights, b, isTransposed), bias, columns: columns)
  }

  /// numpy's product: with constant weights as a layer, else as a batch of matrices.
  mutating func lowerMatMul(_ node: Node) throws(ModelError) -> Bool {
    guard let a = node.inputs[0], let b = node.inputs[1], try type(a) == .float32 else {
      return false
    }
    let bias = node.inputs.count > 2 ? node.inputs[2] : nil
    if let weights = constant(b), weights.shape.count == 2, weights.type == .float32,
      try shape(a).count >= 2, fitsBias(bias, weights.shape[1])
    {
      return try lowerInnerProduct(node, a, (weights, b, false), bias, columns: weights.shape[1])
    }
    guard bias == nil, node.inputs.count < 4 || node.inputs[3] == nil else { return false }
    return try lowerMatrixProduct(node, a, b)
  }

  private func fitsBias(_ bias: ValueID?, _ columns: Int) -> Bool {
    guard let bias else { return true }
    guard let values = constant(bias), values.type == .float32 else { return false }
    return values.elementCount == columns && values.shape.last == columns
  }

  private mutating func lowerInnerProduct(
    _ node: Node, _ a: ValueID, _ b: (tensor: Tensor, id: ValueID, isTransposed: Bool),
    _ bias: ValueID?, columns: Int
  ) throws(ModelError) -> Bool {
    let residual = node.inputs.count > 3 ? node.inputs[3] : nil
    guard let y = node.outputs[0], let post = postOperations(node, addsResidual: residual != nil)
    else { return false }
    let input = try shape(a)
    guard let inner = input.last, inner > 0 else { return false }
    let rows = input.elementCount / inner
    if let residual, try shape(residual) != shape(y) { return false }
    if try lowerByMatrixUnits(
      node, a, b, bias, rows: rows, inner: inner, columns: columns, post)
    {
      return true
    }
    let (inputType, outputType) = (stored, residual == nil ? storedType(y) : stored)
    func primitive(_ weights: MemoryDescriptor, rows: Int) -> Primitive? {
      guard let x = MemoryDescriptor([rows, inner], inputType, .plain),
        let c = MemoryDescriptor([columns], .float32, .plain),
        let z = MemoryDescriptor([rows, columns], outputType, .plain)
      else { return nil }
      return Primitive(
        .innerProduct(source: x, weights: weights, bias: c, destination: z), post)
    }
    guard let form = try weightForm(y, [columns, inner], type: stored, rows: rows, primitive),
      let chosen = primitive(form, rows: rows),
      let x = MemoryDescriptor([rows, inner], inputType, .plain),
      let c = MemoryDescriptor([columns], .float32, .plain),
      let z = MemoryDescriptor([rows, columns], outputType, .plain)
    else { return false }
    let source = try value(a, .plain, inputType)
    let elder = try residual.map { (id) throws(ModelError) in try value(id, .plain, outputType) }
    let target = try makeBuffer(
      y, .plain, outputType, successorOf: heirloom(elder, besides: source))
    let strides = b.isTransposed ? [inner, 1] : [1, columns]
    let packed = try model.packedWeight(
      b.tensor, b.id, shape: [columns, inner], strides: strides, as: form, layer: layer)
    let added = try model.biasWeight(
      bias.flatMap { constant($0) }, bias ?? b.id, count: columns, layer: layer)
    var arguments: [PrimitiveKernel.Argument] = [
      .init(argument: DNNL.source, descriptor: x, operand: 0),
      .init(argument: DNNL.weights, descriptor: form, operand: 1),
      .init(argument: DNNL.bias, descriptor: c, operand: 2),
    ]
    var operands: [Plan.Operand] = [.buffer(source), .weight(packed), .weight(added)]
    if let elder { operands.append(.buffer(elder)) }
    arguments.append(.init(argument: DNNL.destination, descriptor: z, operand: operands.count))
    operands.append(.buffer(target))
    var kernel = PrimitiveKernel(primitive: chosen, arguments: arguments)
    if elder != nil { kernel.copy = (3, 4, z.byteCount) }
    steps.append(Plan.Step(kernel: kernel, operands: operands, writes: 1))
    return true
  }

  /// The layout of a product's weights: oneDNN's choice for a few rows, pinned for the model.
  func weightForm(
    _ y: ValueID, _ shape: [Int], type: ElementType, rows: Int,
    _ make: (MemoryDescriptor, Int) -> Primitive?
  ) throws(ModelError) -> MemoryDescriptor? {
    if let pin = model.pinned(y) { return pin.weights }
    guard let any = MemoryDescriptor.any(shape, type),
      let form = make(any, max(rows, 8))?.descriptor(dnnl_query_weights_md)
    else { return nil }
    model.pin(y, [], Pin(weights: form))
    return form
  }

  private mutating func lowerMatrixProduct(
    _ node: Node, _ a: ValueID, _ b: ValueID
  ) throws(ModelError) -> Bool {
    guard let y = node.outputs[0], try type(b) == .float32,
      let post = postOperations(node, addsResidual: false)
    else { return false }
    let (left, right, result) = (try shape(a), try shape(b), try shape(y))
    guard left.count >= 2, right.count >= 2, result.count <= 6 else { return false }
    func padded(_ shape: [Int]) -> [Int] {
      [Int](repeating: 1, count: result.count - shape.count) + shape
    }
    let outputType = storedType(y)
    guard let x = MemoryDescriptor(padded(left), stored, .plain),
      let w = MemoryDescriptor(padded(right), stored, .plain),
      let z = MemoryDescriptor(result, outputType, .plain),
      let primitive = Primitive(.matrixProduct(x, w, destination: z), post)
    else { return false }
    let (source, second) = (try value(a, .plain, stored), try value(b, .plain, stored))
    let target = try makeBuffer(y, .plain, outputType)
    append(
      primitive,
      [
        (DNNL.source, x, .buffer(source)), (DNNL.weights, w, .buffer(second)),
        (DNNL.destination, z, .buffer(target)),
      ], writes: 1)
    return true
  }
}
