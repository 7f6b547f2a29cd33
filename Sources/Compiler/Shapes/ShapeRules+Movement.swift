import Models
import Vocabulary

extension ShapeRules {
  static let movement: [String: ShapeRule] = [
    "Reshape": reshape, "Flatten": flatten, "Transpose": transpose, "Squeeze": squeeze,
    "Unsqueeze": unsqueeze, "Concat": concat, "Split": split, "Slice": slice, "Pad": pad,
    "Expand": expand, "Tile": tile, "DepthToSpace": depthToSpace, "SpaceToDepth": spaceToDepth,
  ]

  static func reshape(_ facts: inout NodeFacts) throws(ModelError) {
    guard let target = facts.knownSizes(1) ?? facts.node.ints("shape")?.map(Dimension.fixed) else {
      let rank = facts.shape(1)?.fixed?.first
      facts.set(0, facts.type(0), rank.map { facts.unknown(min($0, Limits.tensorRank + 1)) })
      return
    }
    let source = facts.shape(0)
    let keepsZero = facts.node.int("allowzero", default: 0) != 0
    var shape: [Dimension] = []
    var open: Int?
    for (axis, size) in target.enumerated() {
      if size == .fixed(-1) {
        guard open == nil else { throw facts.refusal("leaves two dimensions open") }
        open = axis
        shape.append(.fixed(1))
      } else if size == .fixed(0), !keepsZero {
        guard let source else {
          facts.set(0, facts.type(0), facts.unknown(target.count))
          return
        }
        guard axis < source.count else { throw facts.refusal("copies a dimension that is absent") }
        shape.append(source[axis])
      } else {
        shape.append(size)
      }
    }
    if let open {
      let rest = facts.sizes.multiply(shape)
      guard rest != .fixed(0) else { throw facts.refusal("cannot find the dimension left open") }
      if let source {
        let total = facts.sizes.multiply(source)
        if let size = facts.sizes.divideExactly(total, by: rest) {
          shape[open] = size
        } else if case .fixed = total, case .fixed = rest {
          throw facts.refusal("cannot give \(source.text) the shape \(target.text)")
        } else {
          shape[open] = facts.sizes.divide(total, by: rest)
        }
      } else {
        shape[open] = .symbol("\(facts.node.name):0.\(open)")
      }
    } else if let from = source?.fixed, let to = shape.fixed, from.elementCount != to.elementCount {
      throw facts.refusal("cannot give \(from) the shape \(to)")
    }
    facts.set(0, facts.type(0), shape)
    passKnown(&facts)
  }

  static func flatten(_ facts: inout NodeFacts) throws(ModelError) {
    guard let shape = facts.shape(0) else {
      facts.set(0, facts.type(0), facts.unknown(2))
      return
    }
    let given = facts.node.int("axis", default: 1)
    let axis = given < 0 ? given + shape.count : given
    guard (0...shape.count).contains(axis) else {
      throw facts.refusal("has axis \(given) outside a tensor of \(shape.count) dimensions")
    }
    let flat = [
      facts.sizes.multiply(shape[..<axis]), facts.sizes.multiply(shape[axis...]),
    ]
    facts.set(0, facts.type(0), flat)
  }

  static func transpose(_ facts: inout NodeFacts) throws(ModelError) {
    guard let shape = facts.shape(0) else {
      facts.set(0, facts.type(0), facts.node.ints("perm").map { facts.unknown($0.count) })
      return
    }
    let order = facts.node.ints("perm") ?? Array(shape.indices.reversed())
    guard order.sorted() == Array(shape.indices) else {
      throw facts.refusal("has perm \(order) for a tensor of \(shape.count) dimensions")
    }
    facts.set(0, facts.type(0), order.map { shape[$0] })
  }

  static func squeeze(_ facts: inout NodeFacts) throws(ModelError) {
    guard let shape = facts.shape(0) else {
      facts.set(0, facts.type(0), nil)
      return
    }
    var removed: [Int]
    if let axes = facts.list("axes", orInput: 1) {
      removed = try facts.axes(axes, rank: shape.count)
    } else if facts.has(1) {
      let rank = facts.shape(1)?.fixed?.first.map { max(shape.count - $0, 0) }
      facts.set(0, facts.type(0), rank.map { facts.unknown($0) })
      return
    } else if shape.fixed != nil {
      removed = shape.indices.filter { shape[$0] == .fixed(1) }
    } else {
      // A symbol may turn out to be 1, and then its axis goes too.
      facts.set(0, facts.type(0), nil)
      return
    }
    for axis in removed {
      if case .fixed(let size) = shape[axis], size != 1 {
        throw facts.refusal("squeezes axis \(axis) of size \(size)")
      }
    }
    let kept = shape.indices.filter { !removed.contains($0) }.map { shape[$0] }
    facts.set(0, facts.type(0), kept)
    passKnown(&facts)
  }

  static func unsqueeze(_ facts: inout NodeFacts) throws(ModelError) {
    guard let shape = facts.shape(0), let axes = facts.list("axes", orInput: 1) else {
      let added = facts.shape(1)?.fixed?.first ?? facts.node.ints("axes")?.count
      let rank = added.flatMap { added in facts.rank(0).map { $0 + added } }
      facts.set(0, facts.type(0), rank.map { facts.unknown(min($0, Limits.tensorRank + 1)) })
      return
    }
    let rank = shape.count + axes.count
    let added = try facts.axes(axes, rank: rank)
    guard Set(added).count == added.count else { throw facts.refusal("names an axis twice") }
    var rest = shape[...]
    let wide = (0..<rank).map { added.contains($0) ? .fixed(1) : rest.removeFirst() }
    facts.set(0, facts.type(0), wide)
    passKnown(&facts)
  }

  static func concat(_ facts: inout NodeFacts) throws(ModelError) {
    guard let rank = facts.inputs.lazy.compactMap({ $0?.shape?.count }).first else {
      facts.set(0, facts.type(0), nil)
      return
    }
    let axis = try facts.axis(facts.node.int("axis", default: 1), rank: rank)
    var result: [Dimension]?
    for index in facts.inputs.indices {
      guard let shape = facts.shape(index) else {
        facts.set(0, facts.type(0), facts.unknown(rank))
        return
      }
      guard shape.count == rank else { throw facts.refusal("joins tensors of different ranks") }
      guard var joined = result else {
        result = shape
        continue
      }
      joined[axis] = facts.sizes.add(joined[axis], shape[axis])
      for place in 0..<rank where place != axis {
        if case .fixed = shape[place] {
          if case .fixed = joined[place], joined[place] != shape[place] {
            throw facts.refusal("joins shapes \(joined.text) and \(shape.text) that do not fit")
          }
          joined[place] = shape[place]
        }
      }
      result = joined
    }
    facts.set(0, facts.type(0), result)
    guard rank == 1 else { return }
    var elements: [Dimension] = []
    for index in facts.inputs.indices {
      guard let part = facts.knownSizes(index) else { return }
      elements += part
    }
    facts.outputs[0].known = .sizes(shape: [elements.count], elements)
  }

  static func split(_ facts: inout NodeFacts) throws(ModelError) {
    let count = facts.outputs.count
    guard let shape = facts.shape(0), count > 0 else {
      for index in 0..<count { facts.set(index, facts.type(0), nil) }
      return
    }
    let axis = try facts.axis(facts.node.int("axis", default: 0), rank: shape.count)
    var parts = facts.list("split", orInput: 1)?.map(Dimension.fixed)
    if parts == nil, !facts.has(1), case .fixed(let size) = shape[axis] {
      let each = (size + count - 1) / count
      parts = (0..<count).map { .fixed(max(0, min(each, size - $0 * each))) }
    } else if parts == nil, !facts.has(1) {
      parts = Array(
        repeating: facts.sizes.divide(shape[axis], by: .fixed(count)), count: count)
    }
    if let parts, parts.count != count {
      throw facts.refusal("splits into \(parts.count) parts but has \(count) outputs")
    }
    if let parts, let fixed = parts.fixed, case .fixed(let size) = shape[axis],
      fixed.reduce(0, +) != size || fixed.contains(where: { $0 < 0 })
    {
      throw facts.refusal("splits a dimension of \(size) into \(fixed)")
    }
    let known = shape.count == 1 ? facts.knownSizes(0) : nil
    var start = 0
    for index in 0..<count {
      var part = shape
      part[axis] = parts?[index] ?? .symbol("\(facts.node.name):\(index).\(axis)")
      var elements: KnownElements?
      if let known, case .fixed(let size) = part[axis], start + size <= known.count {
        elements = .sizes(shape: [size], Array(known[start..<start + size]))
        start += size
      }
      facts.set(index, facts.type(0), part, known: elements)
    }
  }

  /// Hands on elements that a change of shape leaves in order.
  static func passKnown(_ facts: inout NodeFacts) {
    guard let elements = facts.knownSizes(0), let shape = facts.outputs.first?.fixedShape,
      shape.elementCount == elements.count
    else { return }
    facts.outputs[0].known = .sizes(shape: shape, elements)
  }
}
