import Models
import Vocabulary

extension ShapeRules {
  static func slice(_ facts: inout NodeFacts) throws(ModelError) {
    guard let shape = facts.shape(0) else {
      facts.set(0, facts.type(0), nil)
      return
    }
    let starts = facts.node.ints("starts")?.map(Dimension.fixed) ?? facts.knownSizes(1)
    let ends = facts.node.ints("ends")?.map(Dimension.fixed) ?? facts.knownSizes(2)
    guard let starts, let ends, starts.count == ends.count else {
      facts.set(0, facts.type(0), facts.unknown(shape.count))
      return
    }
    guard let axes = facts.list("axes", orInput: 3) ?? (facts.has(3) ? nil : Array(starts.indices)),
      axes.count == starts.count,
      let steps = facts.knownInts(4) ?? (facts.has(4) ? nil : starts.map { _ in 1 }),
      steps.count == starts.count
    else {
      facts.set(0, facts.type(0), facts.unknown(shape.count))
      return
    }
    var result = shape
    for (place, axis) in try facts.axes(axes, rank: shape.count).enumerated() {
      guard steps[place] != 0 else { throw facts.refusal("has a step of 0") }
      let size = length(
        of: shape[axis], from: starts[place], to: ends[place], step: steps[place], facts.sizes)
      result[axis] = size ?? .symbol("\(facts.node.name):0.\(axis)")
    }
    facts.set(0, facts.type(0), result)
    guard shape.count == 1, let elements = facts.knownSizes(0), axes == [0] || axes == [-1],
      case .fixed(let start) = starts[0], case .fixed(let end) = ends[0]
    else { return }
    let part = range(elements.count, start, end, steps[0]).map { elements[$0] }
    facts.outputs[0].known = .sizes(shape: [part.count], part)
  }

  /// The indices that a slice takes of a dimension.
  static func range(_ size: Int, _ start: Int, _ end: Int, _ step: Int) -> [Int] {
    let clampedStart = start < 0 ? max(start, -size) + size : start
    let clampedEnd = end < 0 ? max(end, -size - 1) + size : end
    return step > 0
      ? Array(stride(from: min(clampedStart, size), to: min(clampedEnd, size), by: step))
      : Array(stride(from: min(clampedStart, size - 1), to: max(clampedEnd, -1), by: step))
  }

  /// How many elements a slice takes of a dimension, when that can be said.
  private static func length(
    of size: Dimension, from start: Dimension, to end: Dimension, step: Int, _ sizes: SizeAlgebra
  ) -> Dimension? {
    // Exporters write a billion or the largest integer of some width where they mean the end.
    let far = 1_000_000_000
    switch (size, start, end) {
    case (.fixed(let size), .fixed(let start), .fixed(let end)):
      let low = step > 0 ? 0 : -1
      let first = min(max(start < 0 ? start + size : start, low < 0 ? 0 : 0), size)
      let from = step > 0 ? first : min(first, size - 1)
      let countedEnd = end < 0 ? (end < -size ? -1 : end + size) : min(end, size)
      let to = step > 0 ? max(countedEnd, 0) : max(countedEnd, -1)
      let distance = step > 0 ? to - from : from - to
      guard distance > 0 else { return .fixed(0) }
      let stride = step.magnitude > UInt(far) ? far : abs(step)
      return .fixed((distance - 1) / stride + 1)
    case (_, .fixed(let start), .fixed(let end)):
      guard step == 1 || (step == -1 && start == -1 && end < -far) else {
        guard step > 1, start == 0, end >= far else { return nil }
        return sizes.divideRoundingUp(size, by: .fixed(step))
      }
      if step == -1 { return size }
      if start == 0, end >= far { return size }
      if start >= 0, end >= far { return sizes.subtract(size, .fixed(start)) }
      if start < 0, end >= far { return nil }
      if start == 0, end < 0 { return sizes.add(size, .fixed(end)) }
      return nil
    case (_, .fixed(0), _) where end == size && step == 1: return size
    default: return nil
    }
  }

  static func pad(_ facts: inout NodeFacts) throws(ModelError) {
    guard let shape = facts.shape(0) else {
      facts.set(0, facts.type(0), nil)
      return
    }
    let pads = facts.node.ints("pads")?.map(Dimension.fixed) ?? facts.knownSizes(1)
    var axes = Array(shape.indices)
    if facts.has(3) {
      guard let given = facts.knownInts(3) else {
        facts.set(0, facts.type(0), facts.unknown(shape.count))
        return
      }
      axes = try facts.axes(given, rank: shape.count)
    }
    guard let pads else {
      facts.set(0, facts.type(0), facts.unknown(shape.count))
      return
    }
    guard pads.count == axes.count * 2 else {
      throw facts.refusal("has \(pads.count) pads for \(axes.count) axes")
    }
    var result = shape
    for (place, axis) in axes.enumerated() {
      result[axis] = facts.sizes.add(
        facts.sizes.add(shape[axis], pads[place]), pads[place + axes.count])
    }
    facts.set(0, facts.type(0), result)
  }

  static func expand(_ facts: inout NodeFacts) throws(ModelError) {
    guard let shape = facts.shape(0) else {
      facts.set(0, facts.type(0), nil)
      return
    }
    guard let target = facts.knownSizes(1) else {
      let rank = facts.shape(1)?.fixed?.first.map { max($0, shape.count) }
      facts.set(0, facts.type(0), rank.map { facts.unknown(min($0, Limits.tensorRank + 1)) })
      return
    }
    facts.set(0, facts.type(0), try facts.broadcast(shape, target))
  }

  static func tile(_ facts: inout NodeFacts) throws(ModelError) {
    guard let shape = facts.shape(0), let repeats = facts.knownSizes(1) else {
      facts.set(0, facts.type(0), facts.rank(0).map { facts.unknown($0) })
      return
    }
    guard repeats.count == shape.count else {
      throw facts.refusal("repeats \(repeats.count) axes of a tensor of \(shape.count)")
    }
    facts.set(0, facts.type(0), zip(shape, repeats).map { facts.sizes.multiply($0, $1) })
  }

  static func depthToSpace(_ facts: inout NodeFacts) throws(ModelError) {
    try rearrange(&facts) { sizes, shape, block in
      [
        shape[0], sizes.divide(shape[1], by: .fixed(block * block)),
        sizes.multiply(shape[2], .fixed(block)), sizes.multiply(shape[3], .fixed(block)),
      ]
    }
  }

  static func spaceToDepth(_ facts: inout NodeFacts) throws(ModelError) {
    try rearrange(&facts) { sizes, shape, block in
      [
        shape[0], sizes.multiply(shape[1], .fixed(block * block)),
        sizes.divide(shape[2], by: .fixed(block)), sizes.divide(shape[3], by: .fixed(block)),
      ]
    }
  }

  private static func rearrange(
    _ facts: inout NodeFacts, _ shape: (SizeAlgebra, [Dimension], Int) -> [Dimension]
  ) throws(ModelError) {
    let block = facts.node.int("blocksize", default: 0)
    guard block > 0, block < 1 << 16 else { throw facts.refusal("has blocksize \(block)") }
    guard let source = facts.shape(0) else {
      facts.set(0, facts.type(0), facts.unknown(4))
      return
    }
    guard source.count == 4 else { throw facts.refusal("needs a tensor of 4 dimensions") }
    facts.set(0, facts.type(0), shape(facts.sizes, source, block))
  }
}
