import Glibc
import Models
import Vocabulary

extension Reference {
  /// Attention and what transformers do around it.
  static let attentions: [String: Operator] = [
    "Attention": attention,
    "ai.onnx.preview.FlexAttention": flexAttention,
    "RotaryEmbedding": rotaryEmbedding,
  ]

  /// Vaswani et al., "Attention Is All You Need" (2017), with masks, caches and grouped heads.
  @Sendable private static func attention(_ call: Call) throws(ModelError) -> [Tensor?] {
    let (q, k, v) = (try call.input(0), try call.input(1), try call.input(2))
    let flat = q.shape.count == 3
    let queries = try Heads(call, q, heads: call.int("q_num_heads", default: 0))
    let keyHeads = call.int("kv_num_heads", default: 0)
    let keys = try Heads(call, k, heads: keyHeads).following(call.optional(4), call)
    let values = try Heads(call, v, heads: keyHeads).following(call.optional(5), call)
    let past = call.optional(4)?.shape[2] ?? 0
    let bias = try AttentionBias(call, queries, keys, past: past)
    var scores = try AttentionScores(call, queries, keys, q.type)
    let mode = call.int("qk_matmul_output_mode", default: 0)
    var shown = scores.values
    let softcap = Double(call.node.float("softcap", default: 0))
    if softcap > 0 { scores.map { softcap * tanh($0 / softcap) } }
    if mode == 1 { shown = scores.values }
    scores.add(bias)
    if mode == 2 { shown = scores.values }
    let precision = try castTarget(call, "softmax_precision", fallback: q.type)
    scores.softmax(in: precision, emptyRows: bias.emptyRows)
    scores.type = q.type
    scores.map { $0 }
    if mode == 3 { shown = scores.values }
    let result = try scores.weighted(values, call)
    let output = Tensor.from(reals: result.values, q.type, result.shape)
    return [
      flat ? result.flattened(output) : output,
      .from(reals: keys.values, k.type, keys.shape),
      .from(reals: values.values, v.type, values.shape),
      .from(reals: shown, q.type, scores.shape),
    ].prefix(max(call.node.outputs.count, 1)).map { $0 }
  }

  /// Attention whose scores and probabilities pass through subgraphs.
  @Sendable private static func flexAttention(_ call: Call) throws(ModelError) -> [Tensor?] {
    let (q, k, v) = (try call.input(0), try call.input(1), try call.input(2))
    let queries = try Heads(call, q, heads: 0)
    let values = try Heads(call, v, heads: 0)
    var scores = try AttentionScores(call, queries, try Heads(call, k, heads: 0), q.type)
    let fallback: ElementType = q.type == .float64 ? .float64 : .float32
    let precision = try castTarget(call, "softmax_precision", fallback: fallback)
    try scores.pass(through: "score_mod", in: precision, call)
    scores.softmax(in: precision, emptyRows: [])
    try scores.pass(through: "prob_mod", in: precision, call)
    let result = try scores.weighted(values, call)
    return [.from(reals: result.values, v.type, result.shape)]
  }

  /// The softmax of one line; nothing but zeros for a line of -∞.
  static func softmax(_ line: [Double]) -> [Double] {
    let highest = line.max() ?? 0
    guard highest > -.infinity else { return line.map { _ in 0 } }
    let sum = line.reduce(0) { $0 + exp($1 - highest) }
    return line.map { exp($0 - highest) / sum }
  }

  /// Su et al., "RoFormer" (2021): pairs of elements turned by an angle that grows with position.
  @Sendable private static func rotaryEmbedding(_ call: Call) throws(ModelError) -> [Tensor?] {
    let (x, cosines, sines) = (try call.input(0), try call.input(1), try call.input(2))
    let heads = try Heads(call, x, heads: call.int("num_heads", default: 0))
    let named = call.int("rotary_embedding_dim", default: 0)
    let width = named == 0 ? heads.width : named
    let half = width / 2
    let positions = call.optional(3)?.sizes()
    guard positions?.count ?? heads.batch * heads.rows == heads.batch * heads.rows,
      width <= heads.width, cosines.shape.last == half, sines.shape == cosines.shape
    else {
      throw call.error("caches of shape \(cosines.shape) do not fit \(x.shape).")
    }
    let (c, s) = (cosines.reals(), sines.reals())
    let interleaved = call.int("interleaved", default: 0) != 0
    var result = heads.values
    for line in 0..<heads.batch * heads.count * heads.rows {
      let (sample, row) = (line / (heads.count * heads.rows), line % heads.rows)
      let place = positions?[sample * heads.rows + row] ?? sample * heads.rows + row
      guard place >= 0, (place + 1) * half <= c.count else {
        throw call.error("position \(place) lies outside the caches.")
      }
      for pair in 0..<half {
        let first = line * heads.width + (interleaved ? 2 * pair : pair)
        let second = interleaved ? first + 1 : first + half
        let (cosine, sine) = (c[place * half + pair], s[place * half + pair])
        result[first] = cosine * heads.values[first] - sine * heads.values[second]
        result[second] = sine * heads.values[first] + cosine * heads.values[second]
      }
    }
    let turned = Tensor.from(reals: result, x.type, heads.shape)
    return [x.shape.count == 3 ? heads.flattened(turned) : turned]
  }
}
