import Backend
import Compiler
import Models
import Vocabulary

extension Lowering {
  /// Elements of a head's keys below which tiles are mostly empty, and take longer than vectors.
  private static let leastElements = 512

  /// Attention in one pass, without the table of scores.
  mutating func lowerAttention(_ node: Node) throws(ModelError) -> Bool {
    guard node.domain == "stowage", let query = node.inputs[0], let key = node.inputs[1],
      let value = node.inputs[2], let y = node.outputs[0]
    else { return false }
    let mask = node.inputs.count > 3 ? node.inputs[3] : nil
    guard let shape = try attentionShape(node, query, key, value, mask) else { return false }
    if hasMatrixUnits, shape.keys * shape.depth >= Self.leastElements {
      return try appendByMatrixUnits(shape, [query, key, value], mask, y)
    }
    var operands: [Plan.Operand] = []
    for id in [query, key, value] + (mask.map { [$0] } ?? []) {
      operands.append(try plainOperand(id))
    }
    operands.append(.buffer(try makeBuffer(y, .plain)))
    steps.append(Plan.Step(kernel: AttentionKernel(shape: shape), operands: operands, writes: 1))
    return true
  }

  /// In models of BF16 elements are read and written as they lie.
  private mutating func appendByMatrixUnits(
    _ shape: AttentionShape, _ sources: [ValueID], _ mask: ValueID?, _ y: ValueID
  ) throws(ModelError) -> Bool {
    var operands: [Plan.Operand] = []
    var types: [ElementType] = []
    for id in sources {
      if program.graph[id].constant != nil {
        operands.append(try plainOperand(id))
        types.append(.float32)
      } else {
        let type = try forms[home(id)].type
        operands.append(.buffer(try self.value(id, .plain, type)))
        types.append(type)
      }
    }
    if let mask { operands.append(try plainOperand(mask)) }
    let type = storedType(y)
    operands.append(.buffer(try makeBuffer(y, .plain, type)))
    let kernel = MatrixUnitAttentionKernel(
      shape, types: (types, type), pieces: stored == .float32 ? 2 : 1, threads: nodeUnits)
    steps.append(Plan.Step(kernel: kernel, operands: operands, writes: 1))
    return true
  }

  /// The sizes of a node's operands; nil where they are others than the kernels know.
  private func attentionShape(
    _ node: Node, _ query: ValueID, _ key: ValueID, _ value: ValueID, _ added: ValueID?
  ) throws(ModelError) -> AttentionShape? {
    let (q, k, v) = (try shape(query), try shape(key), try shape(value))
    let rank = q.count
    guard rank >= 2, k.count == rank, v.count == rank else { return nil }
    let batch = Array(q[..<(rank - 2)])
    guard Array(k[..<(rank - 2)]) == batch, Array(v[..<(rank - 2)]) == batch,
      k[rank - 2] > 0, k[rank - 1] == q[rank - 1], v[rank - 2] == k[rank - 2]
    else { return nil }
    var mask: (heads: [Int], query: Int, key: Int)?
    if let added {
      guard let steps = try maskSteps(added, batch + [q[rank - 2], k[rank - 2]]) else {
        return nil
      }
      mask = steps
    }
    return AttentionShape(
      heads: batch.reduce(1, *), queries: q[rank - 2], keys: k[rank - 2], depth: q[rank - 1],
      valueDepth: v[rank - 1], scale: node.float("scale", default: 1), mask: mask)
  }

  /// How a mask is repeated over heads, queries and keys; nil where it does not fit them.
  private func maskSteps(
    _ id: ValueID, _ scores: [Int]
  ) throws(ModelError) -> (heads: [Int], query: Int, key: Int)? {
    let given = try shape(id)
    guard given.count <= scores.count else { return nil }
    let padded = [Int](repeating: 1, count: scores.count - given.count) + given
    guard zip(padded, scores).allSatisfy({ $0 == 1 || $0 == $1 }) else { return nil }
    var steps = Self.strides(of: padded)
    for axis in padded.indices where padded[axis] == 1 { steps[axis] = 0 }
    let batch = scores.count - 2
    let heads = (0..<scores[..<batch].reduce(1, *)).map { head in
      var (rest, offset) = (head, 0)
      for axis in (0..<batch).reversed() {
        offset += rest % scores[axis] * steps[axis]
        rest /= scores[axis]
      }
      return offset
    }
    return (heads, steps[batch], steps[batch + 1])
  }
}
