import Compiler
import Models
import Reference
import Vocabulary

extension Lowering {
  /// Elements around a tensor, so many as the file tells.
  mutating func lowerPad(_ node: Node) throws(ModelError) -> Bool {
    guard let x = node.inputs[0], let y = node.outputs[0], constant(x) == nil else { return false }
    let (input, output) = (try shape(x), try shape(y))
    func known(_ index: Int) -> Tensor? {
      node.inputs.count > index ? node.inputs[index].flatMap { constant($0) } : nil
    }
    let hasUnknown = node.inputs.dropFirst().contains { $0.map { constant($0) == nil } ?? false }
    let amounts = node.opset < 11 ? node.ints("pads") : known(1)?.wholeNumbers
    let type = try forms[home(x)].type
    guard !hasUnknown, let amounts, [1, 2, 4, 8].contains(type.byteSize), !input.isEmpty,
      !input.contains(0), !output.contains(0)
    else { return false }
    let axes = (known(3)?.wholeNumbers ?? Array(input.indices)).map {
      $0 < 0 ? $0 + input.count : $0
    }
    guard amounts.count == 2 * axes.count, axes.allSatisfy({ input.indices.contains($0) }) else {
      return false
    }
    var before = [Int](repeating: 0, count: input.count)
    for (place, axis) in axes.enumerated() { before[axis] = amounts[place] }
    let mode = node.string("mode", default: "constant")
    let places = input.indices.map { axis in
      (0..<output[axis]).map { Reference.padded($0 - before[axis], input[axis], mode) ?? -1 }
    }
    guard let filling = Self.filling(node, known(2), type) else { return false }
    let kernel = PadKernel(places: places, input: input, filling: filling)
    let source = try value(x, .plain, type)
    let target = try makeBuffer(y, .plain, type)
    steps.append(
      Plan.Step(kernel: kernel, operands: [.buffer(source), .buffer(target)], writes: 1))
    return true
  }

  /// The bytes of the constant in the type in which the tensor is kept; nil where it cannot be.
  private static func filling(_ node: Node, _ given: Tensor?, _ type: ElementType) -> [UInt8]? {
    if let given, given.elementCount == 1, given.type == type {
      return (0..<type.byteSize).map {
        given.storage.source.load(fromByteOffset: $0, as: UInt8.self)
      }
    }
    let number =
      given.map { $0.type == .float32 ? $0.withElements(as: Float.self) { $0[0] } : .nan }
      ?? node.float("value", default: 0)
    if number == 0 { return [UInt8](repeating: 0, count: type.byteSize) }
    return type == .float32 ? withUnsafeBytes(of: number) { Array($0) } : nil
  }

  /// Rows of a constant table.
  mutating func lowerPickedRows(_ node: Node) throws(ModelError) -> Bool {
    guard let x = node.inputs[0], let t = node.inputs[1], let y = node.outputs[0],
      constant(x) == nil, let table = constant(t), table.shape.count == 2,
      let form = MemoryDescriptor(table.shape, storedType(y), .plain)
    else { return false }
    let (count, rows) = (try shape(x).elementCount, table.shape[0])
    let bytes = table.shape[1] * storedType(y).byteSize
    let kernel: (any Kernel)? =
      switch try type(x) {
      case .int32: PickRowsKernel<Int32>(count: count, rows: rows, run: bytes)
      case .int64: PickRowsKernel<Int64>(count: count, rows: rows, run: bytes)
      default: nil
      }
    guard let kernel else { return false }
    let packed = try model.packedWeight(table, t, as: form, layer: layer)
    let source = try value(x, .plain)
    let target = try makeBuffer(y, .plain, storedType(y))
    steps.append(
      Plan.Step(
        kernel: kernel, operands: [.buffer(source), .weight(packed), .buffer(target)], writes: 1))
    return true
  }

  /// Parts along one axis, as indices tell.
  mutating func lowerGather(_ node: Node) throws(ModelError) -> Bool {
    guard let x = node.inputs[0], let i = node.inputs[1], let y = node.outputs[0] else {
      return false
    }
    let input = try shape(x)
    let named = node.int("axis", default: 0)
    let axis = named < 0 ? named + input.count : named
    let kind = try type(i)
    guard input.indices.contains(axis), kind == .int64 || kind == .int32,
      program.graph[x].constant != nil || constant(x) == nil
    else { return false }
    var kept = try type(x)
    if program.graph[x].constant == nil { kept = try forms[home(x)].type }
    guard kept.byteSize > 0 else { return false }
    let outer = input[..<axis].reduce(1, *)
    let run = input[(axis + 1)...].reduce(kept.byteSize, *)
    let count = try shape(i).elementCount
    let kernel = GatherKernel(
      outer: outer, size: input[axis], run: run, count: count, isLong: kind == .int64)
    let table: Plan.Operand =
      program.graph[x].constant != nil
      ? try plainOperand(x) : .buffer(try value(x, .plain, kept))
    let indices = try plainOperand(i)
    let target = try makeBuffer(y, .plain, kept)
    steps.append(
      Plan.Step(kernel: kernel, operands: [table, indices, .buffer(target)], writes: 1))
    return true
  }

  /// A tensor side by side with itself, so many times along each axis.
  mutating func lowerTile(_ node: Node) throws(ModelError) -> Bool {
    guard let x = node.inputs[0], let y = node.outputs[0], constant(x) == nil, node.opset >= 6
    else { return false }
    let (input, output) = (try shape(x), try shape(y))
    guard input.count == output.count, !input.contains(0), !output.contains(0) else { return false }
    let strides = Self.strides(of: input)
    let type = try forms[home(x)].type
    guard type.byteSize > 0 else { return false }
    let source = try value(x, .plain, type)
    let kernel = MovementKernel(
      shape: input.indices.flatMap { [output[$0] / input[$0], input[$0]] },
      steps: input.indices.flatMap { [0, strides[$0]] }, start: 0, elementSize: type.byteSize)
    let target = try makeBuffer(y, .plain, type)
    steps.append(
      Plan.Step(kernel: kernel, operands: [.buffer(source), .buffer(target)], writes: 1))
    return true
  }

  /// Elements of one tensor or another.
  mutating func lowerChoice(_ node: Node) throws(ModelError) -> Bool {
    let ids = node.inputs.compactMap { $0 }
    guard ids.count == 3, let y = node.outputs[0], try type(ids[0]) == .bool,
      try type(ids[1]) == type(ids[2])
    else { return false }
    var shapes: [[Int]] = []
    for id in ids { shapes.append(try shape(id)) }
    let (result, size) = (try shape(y), try type(y).byteSize)
    guard !result.contains(0) else { return false }
    let kernel: any Kernel
    switch size {
    case 1: kernel = ChoiceKernel(shapes, result, as: UInt8.self)
    case 4: kernel = ChoiceKernel(shapes, result, as: UInt32.self)
    case 8: kernel = ChoiceKernel(shapes, result, as: UInt64.self)
    default: return false
    }
    var operands: [Plan.Operand] = []
    for id in ids { operands.append(try plainOperand(id)) }
    operands.append(.buffer(try makeBuffer(y, .plain)))
    steps.append(Plan.Step(kernel: kernel, operands: operands, writes: 1))
    return true
  }
}
