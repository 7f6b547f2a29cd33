import Models
import Vocabulary

extension Lowering {
  /// Layer normalisation over the last axes.
  mutating func lowerLayerNormalization(_ node: Node) throws(ModelError) -> Bool {
    guard let x = node.inputs[0], let w = node.inputs[1], let y = node.outputs[0],
      node.outputs.dropFirst().allSatisfy({ $0 == nil }), constant(x) == nil,
      try type(x) == .float32, try type(w) == .float32
    else { return false }
    let input = try shape(x)
    let named = node.int("axis", default: -1)
    let axis = named < 0 ? named + input.count : named
    guard input.indices.contains(axis), !input.contains(0) else { return false }
    let size = input[axis...].reduce(1, *)
    var parameters = [w]
    if node.inputs.count > 2, let shift = node.inputs[2] { parameters.append(shift) }
    for id in parameters {
      guard try type(id) == .float32, try shape(id).elementCount == size,
        try shape(id).count <= input.count - axis
      else { return false }
    }
    let source = try value(x, .plain)
    var operands: [Plan.Operand] = [.buffer(source)]
    for id in parameters { operands.append(try plainOperand(id)) }
    operands.append(.buffer(try makeBuffer(y, .plain, successorOf: source)))
    let kernel = LayerNormalizationKernel(
      rows: input[..<axis].reduce(1, *), size: size,
      epsilon: node.float("epsilon", default: 1e-5), shifts: parameters.count > 1)
    steps.append(Plan.Step(kernel: kernel, operands: operands, writes: 1))
    return true
  }

  /// Running sums along an axis.
  mutating func lowerRunningSum(_ node: Node) throws(ModelError) -> Bool {
    guard let x = node.inputs[0], let a = node.inputs[1], let y = node.outputs[0],
      constant(x) == nil, let named = constant(a)?.wholeNumbers?.first
    else { return false }
    let input = try shape(x)
    let axis = named < 0 ? named + input.count : named
    guard input.indices.contains(axis), !input.contains(0) else { return false }
    let isExclusive = node.int("exclusive", default: 0) != 0
    let isReverse = node.int("reverse", default: 0) != 0
    let lines = Lines(input, axis)
    let kernel: any Kernel
    switch try type(x) {
    case .float32:
      // As exact as the reference, whose sums are double.
      kernel = lines.kernel(Float.self) { line, outputs in
        lines.sum(line, outputs[0], isExclusive, isReverse, from: 0.0) {
          $0 + Double($1)
        } to: {
          Float($0)
        }
      }
    case .int64:
      kernel = lines.kernel(Int64.self) { line, outputs in
        lines.sum(line, outputs[0], isExclusive, isReverse, from: Int64(0), &+) { $0 }
      }
    case .int32:
      kernel = lines.kernel(Int32.self) { line, outputs in
        lines.sum(line, outputs[0], isExclusive, isReverse, from: Int32(0), &+) { $0 }
      }
    default: return false
    }
    let source = try value(x, .plain)
    let target = try makeBuffer(y, .plain)
    steps.append(
      Plan.Step(kernel: kernel, operands: [.buffer(source), .buffer(target)], writes: 1))
    return true
  }

  /// Where the largest or smallest number of each line is.
  mutating func lowerExtremePlace(_ node: Node) throws(ModelError) -> Bool {
    guard let x = node.inputs[0], let y = node.outputs[0], constant(x) == nil,
      try type(x) == .float32
    else { return false }
    let input = try shape(x)
    let named = node.int("axis", default: 0)
    let axis = named < 0 ? named + input.count : named
    guard input.indices.contains(axis), !input.contains(0) else { return false }
    let lines = Lines(input, axis)
    let isLast = node.int("select_last_index", default: 0) != 0
    let sign: Float = node.operation == "ArgMax" ? 1 : -1
    let kernel = lines.kernel(Float.self) { line, outputs in
      var (best, place) = (sign * line.source[0], 0)
      for index in 1..<max(lines.size, 1) {
        let next = sign * line.source[index * line.step]
        if next > best || (isLast && next == best) { (best, place) = (next, index) }
      }
      outputs[0].assumingMemoryBound(to: Int64.self)[line.outer * line.step + line.inner] =
        Int64(place)
    }
    let source = try value(x, .plain)
    let target = try makeBuffer(y, .plain)
    steps.append(
      Plan.Step(kernel: kernel, operands: [.buffer(source), .buffer(target)], writes: 1))
    return true
  }

  /// The largest or smallest numbers of each line, and where they are.
  mutating func lowerLargest(_ node: Node) throws(ModelError) -> Bool {
    guard let x = node.inputs[0], constant(x) == nil, try type(x) == .float32, node.opset >= 10,
      node.outputs.count == 2, let values = node.outputs[0], let places = node.outputs[1]
    else { return false }
    let (input, output) = (try shape(x), try shape(values))
    let named = node.int("axis", default: -1)
    let axis = named < 0 ? named + input.count : named
    guard input.indices.contains(axis), !input.contains(0), !output.contains(0),
      output[axis] <= input[axis]
    else { return false }
    let (lines, count) = (Lines(input, axis), output[axis])
    let isLargest = node.int("largest", default: 1) != 0
    let kernel = lines.kernel(Float.self) { line, outputs in
      let numbers = (0..<lines.size).map { line.source[$0 * line.step] }
      // Of equal numbers the first one comes first.
      let order = numbers.indices.sorted {
        numbers[$0] == numbers[$1]
          ? $0 < $1 : isLargest ? numbers[$0] > numbers[$1] : numbers[$0] < numbers[$1]
      }
      let first = line.outer * count * line.step + line.inner
      let found = outputs[0].assumingMemoryBound(to: Float.self)
      let positions = outputs[1].assumingMemoryBound(to: Int64.self)
      for rank in 0..<count {
        found[first + rank * line.step] = numbers[order[rank]]
        positions[first + rank * line.step] = Int64(order[rank])
      }
    }
    let source = try value(x, .plain)
    let first = try makeBuffer(values, .plain)
    let second = try makeBuffer(places, .plain)
    steps.append(
      Plan.Step(
        kernel: kernel, operands: [.buffer(source), .buffer(first), .buffer(second)], writes: 2))
    return true
  }
}

/// The lines of a tensor along one axis.
private struct Lines: Sendable {
  let outer: Int
  let size: Int
  let inner: Int

  init(_ shape: [Int], _ axis: Int) {
    outer = shape[..<axis].reduce(1, *)
    size = shape[axis]
    inner = shape[(axis + 1)...].reduce(1, *)
  }

  func kernel<Element: Sendable>(
    _ type: Element.Type,
    _ function: @escaping @Sendable (LineKernel<Element>.Line, [UnsafeMutableRawPointer]) -> Void
  ) -> LineKernel<Element> {
    LineKernel(outer: outer, size: size, inner: inner, function: function)
  }

  /// Writes running sums of a line.
  @inline(__always)
  func sum<Element, Sum>(
    _ line: LineKernel<Element>.Line, _ output: UnsafeMutableRawPointer, _ isExclusive: Bool,
    _ isReverse: Bool, from zero: Sum, _ add: (Sum, Element) -> Sum, to result: (Sum) -> Element
  ) {
    let target =
      output.assumingMemoryBound(to: Element.self) + line.outer * size * inner + line.inner
    var total = zero
    for index in 0..<size {
      let place = (isReverse ? size - 1 - index : index) * inner
      let next = add(total, line.source[place])
      target[place] = result(isExclusive ? total : next)
      total = next
    }
  }
}
