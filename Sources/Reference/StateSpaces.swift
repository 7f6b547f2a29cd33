import Glibc
import Models
import Vocabulary

extension Reference {
  /// Operators of networks that carry a state from position to position.
  static let stateSpaces: [String: Operator] = [
    "LinearAttention": linearAttention,
    "CausalConvWithState": causalConvolution,
    "SwiGLU": gatedLinearUnit,
  ]

  /// Yang et al., "Gated Delta Networks" (2024), and the simpler rules that it contains.
  @Sendable private static func linearAttention(_ call: Call) throws(ModelError) -> [Tensor?] {
    let (x, past) = (try call.input(0), call.optional(3))
    let keyHeads = call.int("kv_num_heads", default: 0)
    let q = try Heads(call, x, heads: call.int("q_num_heads", default: 0))
    let k = try Heads(call, try call.input(1), heads: keyHeads)
    let v = try Heads(call, try call.input(2), heads: keyHeads)
    let decay = try call.optional(4).map { (gate) throws(ModelError) in
      try Heads(call, gate, heads: keyHeads)
    }
    let beta = call.optional(5)?.reals()
    let betaHeads = call.optional(5)?.shape.last ?? 1
    let stateShape = [k.batch, k.count, k.width, v.width]
    guard q.rows == k.rows, v.rows == k.rows, q.width == k.width, q.count % k.count == 0,
      past?.shape ?? stateShape == stateShape, decay?.rows ?? k.rows == k.rows,
      betaHeads == 1 || betaHeads == k.count, q.batch == k.batch, v.batch == k.batch,
      v.count == k.count, decay?.batch ?? k.batch == k.batch,
      decay?.width ?? 1 == 1 || decay?.width == k.width,
      beta?.count ?? k.batch * k.rows * betaHeads == k.batch * k.rows * betaHeads
    else { throw call.error("queries, keys, values, decay or state do not fit together.") }
    var state = past?.reals() ?? [Double](repeating: 0, count: stateShape.elementCount)
    let given = Double(call.node.float("scale", default: 0))
    let scale = given == 0 ? 1 / Double(k.width).squareRoot() : given
    var result = [Double](repeating: 0, count: q.batch * q.count * q.rows * v.width)
    for head in 0..<k.batch * k.count {
      var memory = Array(state[head * k.width * v.width..<(head + 1) * k.width * v.width])
      for row in 0..<k.rows {
        let line = head * k.rows + row
        let key = Array(k.values[line * k.width..<(line + 1) * k.width])
        var value = Array(v.values[line * v.width..<(line + 1) * v.width])
        if let decay {
          for place in memory.indices {
            let gate = decay.width == 1 ? 0 : place / v.width
            memory[place] *= exp(decay.values[line * decay.width + gate])
          }
        }
        if let beta {
          let (sample, own) = (head / k.count, betaHeads == 1 ? 0 : head % k.count)
          let share = beta[(sample * k.rows + row) * betaHeads + own]
          let recalled = product(key, memory, 1, k.width, v.width)
          for place in value.indices { value[place] = share * (value[place] - recalled[place]) }
        }
        for place in memory.indices {
          memory[place] += key[place / v.width] * value[place % v.width]
        }
        let group = q.count / k.count
        for member in 0..<group {
          let reader = head / k.count * q.count + head % k.count * group + member
          let source = (reader * q.rows + row) * q.width
          let query = Array(q.values[source..<source + q.width])
          for (place, sum) in product(query, memory, 1, k.width, v.width).enumerated() {
            result[(reader * q.rows + row) * v.width + place] = scale * sum
          }
        }
      }
      state.replaceSubrange(head * memory.count..<(head + 1) * memory.count, with: memory)
    }
    let heads = Heads(values: result, shape: [q.batch, q.count, q.rows, v.width])
    return [
      heads.flattened(.from(reals: result, x.type, heads.shape)),
      .from(reals: state, past?.type ?? x.type, stateShape),
    ].prefix(max(call.node.outputs.count, 1)).map { $0 }
  }

  /// A convolution of each channel with itself that sees no later element; the last elements are
  /// handed on to the next call.
  @Sendable private static func causalConvolution(_ call: Call) throws(ModelError) -> [Tensor?] {
    let (x, w) = (try call.input(0), try call.input(1))
    guard x.shape.count == 3, w.shape.count == 3, w.shape[0] == x.shape[1], w.shape[1] == 1 else {
      throw call.error("weights \(w.shape) do not fit input \(x.shape).")
    }
    let kept = w.shape[2] - 1
    guard kept >= 0 else { throw call.error("the weights are empty.") }
    let before = [x.shape[0], x.shape[1], kept]
    let past =
      call.optional(3)
      ?? .from(
        reals: [Double](repeating: 0, count: before.elementCount), x.type, before)
    guard past.shape == before else {
      throw call.error("a state of shape \(past.shape) does not fit \(before).")
    }
    let padded = try joined([past, x], axis: 2, call)
    let (values, weights) = (padded.reals(), w.reals())
    let bias = call.optional(2)?.reals()
    guard bias?.count ?? x.shape[1] == x.shape[1] else {
      throw call.error("weights or bias do not fit input \(x.shape).")
    }
    let (length, full) = (x.shape[2], padded.shape[2])
    let activation = call.node.string("activation", default: "none")
    let result = (0..<x.elementCount).map { position -> Double in
      let (line, place) = (position / length, position % length)
      let channel = line % x.shape[1]
      let sum = (0...kept).reduce(bias?[channel] ?? 0) {
        $0 + weights[channel * (kept + 1) + $1] * values[line * full + place + $1]
      }
      return activation == "none" ? sum : x.type.rounded(sum) * sigmoid(x.type.rounded(sum))
    }
    let last = padded.gathered(before) { $0 / kept * full + full - kept + $0 % kept }
    return [.from(reals: result, x.type, x.shape), last]
      .prefix(max(call.node.outputs.count, 1)).map { $0 }
  }

  /// Shazeer, "GLU Variants Improve Transformer" (2020).
  @Sendable private static func gatedLinearUnit(_ call: Call) throws(ModelError) -> [Tensor?] {
    let (a, b) = (try call.input(0), try call.input(1))
    guard a.shape == b.shape, a.type == b.type else {
      throw call.error("inputs \(a.shape) and \(b.shape) differ.")
    }
    let alpha = Double(call.node.float("alpha", default: 1))
    let values = zip(a.reals(), b.reals()).map { gate, value in
      a.type.rounded(gate * a.type.rounded(sigmoid(alpha * gate))) * value
    }
    return [.from(reals: values, a.type, a.shape)]
  }
}
