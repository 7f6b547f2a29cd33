import Models
import Vocabulary

extension Reference {
  /// Operators that pick or place elements.
  static let slicing: [String: Operator] = [
    "Slice": slice,
    "Gather": gather,
    "GatherElements": gatherElements,
    "GatherND": gatherND,
    "Pad": pad,
    "DepthToSpace": depthToSpace,
    "SpaceToDepth": spaceToDepth,
  ]

  @Sendable private static func slice(_ call: Call) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    guard let starts = call.integers("starts", orInput: 1),
      let ends = call.integers("ends", orInput: 2)
    else { throw call.error("starts or ends are missing.") }
    let axes = call.integers("axes", orInput: 3) ?? Array(starts.indices)
    let steps = call.integers("steps", orInput: 4) ?? [Int](repeating: 1, count: starts.count)
    guard starts.count == ends.count, axes.count == starts.count, steps.count == starts.count,
      !steps.contains(0)
    else { throw call.error("starts, ends, axes and steps do not fit together.") }
    var (begin, stride, shape) = (
      [Int](repeating: 0, count: x.shape.count), [Int](repeating: 1, count: x.shape.count), x.shape
    )
    for (position, named) in axes.enumerated() {
      let axis = try call.axis(named, in: x)
      let (size, step) = (x.shape[axis], steps[position])
      func bound(_ value: Int) -> Int {
        let counted = value < 0 ? max(value, -size - 1) + size : min(value, size)
        return step > 0 ? min(max(counted, 0), size) : min(max(counted, -1), size - 1)
      }
      let (first, last) = (bound(starts[position]), bound(ends[position]))
      begin[axis] = first
      stride[axis] = step
      let distance = step > 0 ? last - first : first - last
      shape[axis] = distance <= 0 ? 0 : (distance + abs(step) - 1) / abs(step)
    }
    let own = strides(of: x.shape)
    var sources: [Int] = []
    forEachIndex(of: shape) { index in
      sources.append(
        index.indices.reduce(0) { $0 + (begin[$1] + index[$1] * stride[$1]) * own[$1] })
    }
    return [x.gathered(shape) { sources[$0] }]
  }

  /// Indices made non-negative and checked against a size.
  static func checkedIndices(
    _ tensor: Tensor, size: Int, _ call: Call
  ) throws(ModelError) -> [Int] {
    var result: [Int] = []
    result.reserveCapacity(tensor.elementCount)
    for wide in tensor.integers() {
      let index = wide < 0 ? wide + Int128(size) : wide
      guard index >= 0, index < Int128(size) else {
        throw call.error("index \(wide) does not exist among \(size).")
      }
      result.append(Int(index))
    }
    return result
  }

  @Sendable private static func gather(_ call: Call) throws(ModelError) -> [Tensor?] {
    let (x, picks) = (try call.input(0), try call.input(1))
    let axis = try call.axis(call.int("axis", default: 0), in: x)
    let indices = try checkedIndices(picks, size: x.shape[axis], call)
    let inner = Array(x.shape[(axis + 1)...]).elementCount
    let shape = try call.sized(x.shape[..<axis] + picks.shape + x.shape[(axis + 1)...])
    let block = indices.count * inner
    return [
      x.gathered(shape) { position in
        let (outer, rest) = position.quotientAndRemainder(dividingBy: max(block, 1))
        return (outer * x.shape[axis] + indices[rest / inner]) * inner + rest % inner
      }
    ]
  }

  @Sendable private static func gatherElements(_ call: Call) throws(ModelError) -> [Tensor?] {
    let (x, picks) = (try call.input(0), try call.input(1))
    let axis = try call.axis(call.int("axis", default: 0), in: x)
    let fits = zip(picks.shape, x.shape).enumerated().allSatisfy { place, sizes in
      place == axis || sizes.0 <= sizes.1
    }
    guard picks.shape.count == x.shape.count, fits else {
      throw call.error("indices \(picks.shape) do not fit \(x.shape).")
    }
    let indices = try checkedIndices(picks, size: x.shape[axis], call)
    let own = strides(of: x.shape)
    var sources: [Int] = []
    forEachIndex(of: picks.shape) { index in
      var source = 0
      for dimension in index.indices {
        let place = dimension == axis ? indices[sources.count] : index[dimension]
        source += place * own[dimension]
      }
      sources.append(source)
    }
    return [x.gathered(picks.shape) { sources[$0] }]
  }

  @Sendable private static func gatherND(_ call: Call) throws(ModelError) -> [Tensor?] {
    let (x, picks) = (try call.input(0), try call.input(1))
    let batch = call.int("batch_dims", default: 0)
    guard let depth = picks.shape.last, batch >= 0, batch + depth <= x.shape.count,
      batch < picks.shape.count, picks.shape[..<batch] == x.shape[..<batch]
    else { throw call.error("indices \(picks.shape) do not fit \(x.shape).") }
    let own = strides(of: x.shape)
    let rows = Array(picks.shape.dropLast()).elementCount
    let block = Array(x.shape[(batch + depth)...]).elementCount
    let batches = Array(x.shape[..<batch]).elementCount
    let numbers = picks.integers()
    var starts: [Int] = []
    for row in 0..<rows {
      var start = batch > 0 ? row / max(rows / max(batches, 1), 1) * own[batch - 1] : 0
      for position in 0..<depth {
        let size = x.shape[batch + position]
        let number = numbers[row * depth + position]
        let index = number < 0 ? number + Int128(size) : number
        guard index >= 0, index < Int128(size) else {
          throw call.error("index \(number) does not exist among \(size).")
        }
        start += Int(index) * own[batch + position]
      }
      starts.append(start)
    }
    let shape = try call.sized(picks.shape.dropLast() + x.shape[(batch + depth)...])
    return [x.gathered(shape) { starts[$0 / block] + $0 % block }]
  }

  @Sendable private static func pad(_ call: Call) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    guard let amounts = call.integers("pads", orInput: 1) else {
      throw call.error("pads are missing.")
    }
    var axes = Array(x.shape.indices)
    if let named = call.optional(3)?.sizes() {
      axes = []
      for axis in named { axes.append(try call.axis(axis, in: x)) }
    }
    guard amounts.count == 2 * axes.count else {
      throw call.error("\(amounts.count) pads do not fit \(axes.count) axes.")
    }
    var (before, shape) = ([Int](repeating: 0, count: x.shape.count), x.shape)
    for (position, axis) in axes.enumerated() {
      before[axis] = amounts[position]
      shape[axis] += amounts[position] + amounts[position + axes.count]
      guard shape[axis] >= 0 else { throw call.error("axis \(axis) would be negative.") }
    }
    let mode = call.node.string("mode", default: "constant")
    shape = try call.sized(shape)
    guard mode == "constant" || x.elementCount > 0 || shape.elementCount == 0 else {
      throw call.error("an empty tensor has no elements to repeat.")
    }
    let own = strides(of: x.shape)
    var sources: [Int?] = []
    forEachIndex(of: shape) { index in
      var source: Int? = 0
      for axis in index.indices {
        let place = padded(index[axis] - before[axis], x.shape[axis], mode)
        source = place.flatMap { place in source.map { $0 + place * own[axis] } }
      }
      sources.append(source)
    }
    let value =
      call.optional(2)
      ?? .from(reals: [Double(call.node.float("value", default: 0))], x.type, [])
    guard value.elementCount == 1 else { throw call.error("the padding is not one element.") }
    let both = try joined([x.reshaped([x.elementCount]), value.reshaped([1])], axis: 0, call)
    return [both.gathered(shape) { sources[$0] ?? x.elementCount }]
  }

  /// Where an index outside an axis reads, or nil for the constant.
  public static func padded(_ index: Int, _ size: Int, _ mode: String) -> Int? {
    if (0..<size).contains(index) { return index }
    switch mode {
    case "edge": return min(max(index, 0), size - 1)
    case "wrap": return (index % size + size) % size
    case "reflect":
      guard size > 1 else { return 0 }
      let period = 2 * (size - 1)
      let folded = (index % period + period) % period
      return folded < size ? folded : period - folded
    default: return nil
    }
  }

  @Sendable private static func depthToSpace(_ call: Call) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    let block = call.int("blocksize", default: 1)
    guard x.shape.count == 4, block > 0, block < 1 << 20, x.shape[1] % (block * block) == 0
    else {
      throw call.error("\(x.shape) cannot be cut into blocks of \(block).")
    }
    let (n, c, h, w) = (x.shape[0], x.shape[1] / (block * block), x.shape[2], x.shape[3])
    let byColumn = call.node.string("mode", default: "DCR") == "CRD"
    let split = x.reshaped(byColumn ? [n, c, block, block, h, w] : [n, block, block, c, h, w])
    let moved = transposed(split, byColumn ? [0, 1, 4, 2, 5, 3] : [0, 3, 4, 1, 5, 2])
    return [moved.reshaped([n, c, h * block, w * block])]
  }

  @Sendable private static func spaceToDepth(_ call: Call) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    let block = call.int("blocksize", default: 1)
    guard x.shape.count == 4, block > 0, x.shape[2] % block == 0, x.shape[3] % block == 0 else {
      throw call.error("\(x.shape) cannot be cut into blocks of \(block).")
    }
    let (n, c, h, w) = (x.shape[0], x.shape[1], x.shape[2] / block, x.shape[3] / block)
    let moved = transposed(x.reshaped([n, c, h, block, w, block]), [0, 3, 5, 1, 2, 4])
    let byColumn = call.node.string("mode", default: "DCR") == "CRD"
    let ordered = byColumn ? transposed(moved, [0, 3, 1, 2, 4, 5]) : moved
    return [ordered.reshaped([n, c * block * block, h, w])]
  }
}
