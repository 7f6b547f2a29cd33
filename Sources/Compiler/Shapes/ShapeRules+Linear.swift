import Models
import Vocabulary

extension ShapeRules {
  static let linear: [String: ShapeRule] = [
    "Gemm": gemm, "MatMul": matMul, "Einsum": einsum, "Det": determinant, "Attention": attention,
  ]

  static func gemm(_ facts: inout NodeFacts) throws(ModelError) {
    guard let a = facts.shape(0), let b = facts.shape(1) else {
      facts.set(0, facts.type(0), facts.unknown(2))
      return
    }
    guard a.count == 2, b.count == 2 else {
      throw facts.refusal("multiplies \(a.text) by \(b.text), which are not both matrices")
    }
    let flipsA = facts.node.int("transA", default: 0) != 0
    let flipsB = facts.node.int("transB", default: 0) != 0
    try checkInner(facts, flipsA ? a[0] : a[1], flipsB ? b[1] : b[0])
    facts.set(0, facts.type(0), [flipsA ? a[1] : a[0], flipsB ? b[0] : b[1]])
  }

  static func matMul(_ facts: inout NodeFacts) throws(ModelError) {
    facts.set(0, facts.type(0), try matMulShape(facts, facts.shape(0), facts.shape(1)))
  }

  static func matMulShape(
    _ facts: NodeFacts, _ left: [Dimension]?, _ right: [Dimension]?
  ) throws(ModelError) -> [Dimension]? {
    guard var a = left, var b = right else { return nil }
    guard !a.isEmpty, !b.isEmpty else { throw facts.refusal("multiplies a scalar") }
    let isRow = a.count == 1
    let isColumn = b.count == 1
    if isRow { a.insert(.fixed(1), at: 0) }
    if isColumn { b.append(.fixed(1)) }
    try checkInner(facts, a[a.count - 1], b[b.count - 2])
    var shape = try facts.broadcast(a.dropLast(2), b.dropLast(2))
    if !isRow { shape.append(a[a.count - 2]) }
    if !isColumn { shape.append(b[b.count - 1]) }
    return shape
  }

  private static func checkInner(
    _ facts: NodeFacts, _ left: Dimension, _ right: Dimension
  ) throws(ModelError) {
    if case .fixed(let a) = left, case .fixed(let b) = right, a != b {
      throw facts.refusal("multiplies matrices whose inner sizes are \(a) and \(b)")
    }
  }

  static func einsum(_ facts: inout NodeFacts) throws(ModelError) {
    let equation = try EinsumEquation(facts)
    var shapes: [[Dimension]] = []
    for index in facts.inputs.indices {
      guard let shape = facts.shape(index) else {
        facts.set(0, facts.type(0), nil)
        return
      }
      shapes.append(shape)
    }
    let labels = try equation.labels(ranks: shapes.map(\.count), facts)
    var sizes: [String: Dimension] = [:]
    for (shape, names) in zip(shapes, labels.inputs) {
      for (size, name) in zip(shape, names) {
        guard let joined = facts.sizes.broadcast(sizes[name] ?? .fixed(1), size) else {
          throw facts.refusal("gives the label \(name) two sizes")
        }
        sizes[name] = joined
      }
    }
    facts.set(0, facts.type(0), labels.output.map { sizes[$0] ?? .fixed(1) })
  }

  static func determinant(_ facts: inout NodeFacts) throws(ModelError) {
    facts.set(0, facts.type(0), facts.shape(0).map { $0.dropLast(2) })
  }

  /// Attention of the standard operator set: queries, keys and values with 3 or 4 dimensions.
  static func attention(_ facts: inout NodeFacts) throws(ModelError) {
    guard let query = facts.shape(0), let key = facts.shape(1), let value = facts.shape(2),
      query.count == value.count, query.count >= 3
    else {
      for index in facts.outputs.indices { facts.set(index, facts.type(0), nil) }
      return
    }
    let sizes = facts.sizes
    let heads = facts.node.int("q_num_heads", default: 0)
    let keyHeads = facts.node.int("kv_num_heads", default: 0)
    let total = facts.shape(4).map { sizes.add($0[2], key[key.count - 2]) } ?? key[key.count - 2]
    func perHead(_ shape: [Dimension]) -> Dimension {
      query.count == 4 ? shape[3] : sizes.divide(shape[2], by: .fixed(max(keyHeads, 1)))
    }
    let headCount = query.count == 4 ? key[1] : .fixed(keyHeads)
    if query.count == 4 {
      facts.set(0, facts.type(0), [query[0], query[1], query[2], value[3]])
    } else {
      let width = sizes.multiply(perHead(value), .fixed(heads))
      facts.set(0, facts.type(0), [query[0], query[1], width])
    }
    facts.set(1, facts.type(1), [query[0], headCount, total, perHead(key)])
    facts.set(2, facts.type(2), [query[0], headCount, total, perHead(value)])
    let queryHeads = query.count == 4 ? query[1] : .fixed(heads)
    facts.set(3, facts.type(0), [query[0], queryHeads, query[query.count - 2], total])
  }

  /// Attention as fusion makes it: softmax(Q·Kᵀ·scale + mask)·V over the last two axes.
  static func fusedAttention(_ facts: inout NodeFacts) throws(ModelError) {
    guard let query = facts.shape(0), let value = facts.shape(2), let width = value.last else {
      facts.set(0, facts.type(0), facts.rank(0).map { facts.unknown($0) })
      return
    }
    facts.set(0, facts.type(0), query.dropLast() + [width])
  }

  /// A row of the table for each number, whose own axis of one it replaces.
  static func pickedRows(_ facts: inout NodeFacts) throws(ModelError) {
    guard let numbers = facts.shape(0), let width = facts.shape(1)?.last else {
      facts.set(0, facts.type(1), facts.rank(0).map { facts.unknown($0) })
      return
    }
    facts.set(0, facts.type(1), numbers.dropLast() + [width])
  }
}
