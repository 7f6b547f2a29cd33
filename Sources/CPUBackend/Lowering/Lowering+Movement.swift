import COneDNN
import Models
import Vocabulary

extension Lowering {
  /// Another shape for the same elements costs nothing in the plain layout.
  mutating func lowerReshape(_ node: Node) throws(ModelError) -> Bool {
    guard let x = node.inputs[0], let y = node.outputs[0], constant(x) == nil,
      node.outputs.dropFirst().allSatisfy({ $0 == nil })
    else { return false }
    let keepsShape = node.operation == "Identity" || node.operation == "Dropout"
    guard keepsShape || model.isBatched[x.index] == model.isBatched[y.index] else { return false }
    let source = try value(x, .plain, try forms[home(x)].type)
    let result = try shape(y)
    guard try type(x) == type(y),
      forms[source].shape.elementCount == result.elementCount
    else { return false }
    try makeAlias(y, of: source)
    return true
  }

  /// Axes in another order: a copy with the strides of the source in the order of the target.
  mutating func lowerTranspose(_ node: Node) throws(ModelError) -> Bool {
    guard let x = node.inputs[0], let y = node.outputs[0], constant(x) == nil else { return false }
    let input = try shape(x)
    let order = node.ints("perm") ?? input.indices.reversed()
    guard order.count == input.count else { return false }
    let strides = Self.strides(of: input)
    let kept = try forms[home(x)].type
    // Whole rows change places, as where channels are shuffled: they are copied as they are.
    let keepsRows = order.last == input.count - 1 && (input.last ?? 0) * kept.byteSize >= 64
    if keepsRows || (order.first != 0 && model.isBatched[x.index]) {
      return try lowerMovement(x, y, steps: order.map { strides[$0] }, start: 0)
    }
    guard let type = MemoryDescriptor.movable(kept),
      let from = MemoryDescriptor(
        order.map { input[$0] }, type, strides: order.map { strides[$0] }),
      let to = MemoryDescriptor(try shape(y), type, .plain),
      let primitive = Primitive.copy(from, to)
    else { return false }
    let source = try value(x, .plain, kept)
    let target = try makeBuffer(y, .plain, kept)
    append(
      primitive, [(DNNL.from, from, .buffer(source)), (DNNL.to, to, .buffer(target))], writes: 1)
    return true
  }

  /// Tensors side by side; along channels the blocked layout stays when groups do not mix.
  mutating func lowerConcat(_ node: Node) throws(ModelError) -> Bool {
    guard let y = node.outputs[0] else { return false }
    let (wanted, result) = (try type(y), try shape(y))
    var axis = node.int("axis", default: 1)
    if axis < 0 { axis += result.count }
    var ids: [ValueID] = []
    for input in node.inputs {
      guard let input, constant(input) == nil, try type(input) == wanted else { return false }
      ids.append(input)
    }
    let found = try ids.map { (id) throws(ModelError) in forms[try home(id)] }
    // What is kept in two types is joined in the graph's.
    let kept = found.first?.type ?? wanted
    let type = found.allSatisfy { $0.type == kept } ? kept : wanted
    if try lowerHalfGroups(ids, found, type, axis: axis, y) { return true }
    let layout = Self.jointLayout(found, axis: axis)
    let sources = try ids.map { (id) throws(ModelError) in try value(id, layout, type) }
    let kernel = ConcatKernel(
      shapes: sources.map { forms[$0].shape }, axis: axis, layout: layout,
      elementSize: type.byteSize)
    let target = try makeBuffer(y, layout, type)
    steps.append(
      Plan.Step(
        kernel: kernel, operands: (sources + [target]).map { .buffer($0) }, writes: 1))
    return true
  }

  /// Pictures whose groups of channels come apart in the middle and nowhere else.
  private mutating func lowerHalfGroups(
    _ ids: [ValueID], _ found: [(shape: [Int], type: ElementType, layout: Layout)],
    _ type: ElementType, axis: Int, _ y: ValueID
  ) throws(ModelError) -> Bool {
    guard axis == 1, found.allSatisfy({ $0.layout == .blocked && $0.type == type }),
      Self.jointLayout(found, axis: axis) == .plain,
      let kernel = HalfGroupConcatKernel(shapes: found.map(\.shape), elementSize: type.byteSize)
    else { return false }
    let sources = try ids.map { (id) throws(ModelError) in try home(id) }
    let target = try makeBuffer(y, .blocked, type)
    steps.append(
      Plan.Step(
        kernel: kernel, operands: (sources + [target]).map { .buffer($0) }, writes: 1))
    return true
  }

  /// The layout in which tensors can be joined without tearing groups of channels apart.
  private static func jointLayout(
    _ forms: [(shape: [Int], type: ElementType, layout: Layout)], axis: Int
  ) -> Layout {
    guard axis > 0, let layout = forms.first?.layout,
      forms.allSatisfy({ $0.layout == layout })
    else { return .plain }
    let fills = forms.allSatisfy { $0.shape[1] % MemoryDescriptor.block == 0 }
    return layout == .blocked && axis == 1 && !fills ? .plain : layout
  }
}

extension Lowering {
  /// Some places along axes, at regular distances.
  mutating func lowerSlice(_ node: Node) throws(ModelError) -> Bool {
    guard let x = node.inputs[0], let y = node.outputs[0], constant(x) == nil else { return false }
    func numbers(_ name: String, _ index: Int) -> [Int]? {
      guard node.opset >= 10 else { return node.ints(name) }
      guard node.inputs.count > index, let id = node.inputs[index] else { return nil }
      return constant(id)?.wholeNumbers
    }
    let hasUnknown = node.inputs.dropFirst().contains { $0.map { constant($0) == nil } ?? false }
    guard !hasUnknown, let starts = numbers("starts", 1) else { return false }
    let input = try shape(x)
    let axes = numbers("axes", 3) ?? Array(starts.indices)
    let steps = numbers("steps", 4) ?? [Int](repeating: 1, count: starts.count)
    guard axes.count == starts.count, steps.count == starts.count, !steps.contains(0) else {
      return false
    }
    var (strides, start) = (Self.strides(of: input), 0)
    for (place, named) in axes.enumerated() {
      let axis = named < 0 ? named + input.count : named
      guard input.indices.contains(axis) else { return false }
      let (size, value) = (input[axis], starts[place])
      let counted = value < 0 ? max(value, -size - 1) + size : min(value, size)
      let first =
        steps[place] > 0 ? min(max(counted, 0), size) : min(max(counted, -1), size - 1)
      start += first * strides[axis]
      strides[axis] *= steps[place]
    }
    return try lowerMovement(x, y, steps: strides, start: start)
  }

  /// Parts along one axis.
  mutating func lowerSplit(_ node: Node) throws(ModelError) -> Bool {
    guard let x = node.inputs[0], constant(x) == nil else { return false }
    let input = try shape(x)
    let named = node.int("axis", default: 0)
    let axis = named < 0 ? named + input.count : named
    guard input.indices.contains(axis) else { return false }
    if try lowerBlockedSplit(node, x, axis: axis) { return true }
    let strides = Self.strides(of: input)
    var start = 0
    for case let y? in node.outputs {
      guard try lowerMovement(x, y, steps: strides, start: start * strides[axis]) else {
        return false
      }
      start += try shape(y)[axis]
    }
    return node.outputs.allSatisfy { $0 != nil }
  }

  /// Groups of channels apart, which stay whole.
  private mutating func lowerBlockedSplit(
    _ node: Node, _ x: ValueID, axis: Int
  ) throws(ModelError) -> Bool {
    let source = try home(x)
    let (input, type, layout) = forms[source]
    let block = MemoryDescriptor.block
    let outputs = node.outputs.compactMap { $0 }
    guard layout == .blocked, axis == 1, outputs.count == node.outputs.count else { return false }
    let shapes = try outputs.map { (y) throws(ModelError) in try shape(y) }
    guard shapes.allSatisfy({ $0.count == input.count && $0[1] % block == 0 }) else {
      return false
    }
    let plane = input[2...].reduce(block, *)
    var start = 0
    for (y, shape) in zip(outputs, shapes) {
      let groups = shape[1] / block
      let kernel = MovementKernel(
        shape: [input[0], groups, plane], steps: [input[1] / block * plane, plane, 1],
        start: start * plane, elementSize: type.byteSize)
      let target = try makeBuffer(y, layout, type)
      steps.append(
        Plan.Step(kernel: kernel, operands: [.buffer(source), .buffer(target)], writes: 1))
      start += groups
    }
    return true
  }

  /// A tensor repeated along axes of size 1.
  mutating func lowerExpand(_ node: Node) throws(ModelError) -> Bool {
    guard let x = node.inputs[0], let y = node.outputs[0], constant(x) == nil else { return false }
    let (input, output) = (try shape(x), try shape(y))
    guard output.count >= input.count else { return false }
    let padded = [Int](repeating: 1, count: output.count - input.count) + input
    var strides = Self.strides(of: padded)
    for axis in padded.indices where padded[axis] == 1 { strides[axis] = 0 }
    return try lowerMovement(x, y, steps: strides, start: 0)
  }

  private mutating func lowerMovement(
    _ x: ValueID, _ y: ValueID, steps: [Int], start: Int
  ) throws(ModelError) -> Bool {
    let type = try forms[home(x)].type
    guard type.byteSize > 0 else { return false }
    let source = try value(x, .plain, type)
    let kernel = MovementKernel(
      shape: try shape(y), steps: steps, start: start, elementSize: type.byteSize)
    let target = try makeBuffer(y, .plain, type)
    self.steps.append(
      Plan.Step(kernel: kernel, operands: [.buffer(source), .buffer(target)], writes: 1))
    return true
  }

  /// Elements from one place to the next along each axis of a row-major tensor.
  static func strides(of shape: [Int]) -> [Int] {
    var strides = [Int](repeating: 1, count: shape.count)
    for axis in shape.indices.dropLast().reversed() {
      strides[axis] = strides[axis + 1] * shape[axis + 1]
    }
    return strides
  }
}

extension MemoryDescriptor {
  /// A type of the same width that oneDNN can move, whatever the bits mean.
  static func movable(_ type: ElementType) -> ElementType? {
    switch type.byteSize {
    case 1: .uint8
    case 2: type == .bfloat16 ? .bfloat16 : nil
    case 4: type == .float32 ? .float32 : .int32
    default: nil
    }
  }
}

extension Primitive {
  /// Copies from one layout to another.
  static func copy(_ from: MemoryDescriptor, _ to: MemoryDescriptor) -> Primitive? {
    Primitive(.copy(from, to))
  }
}
