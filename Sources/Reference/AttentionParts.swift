import Glibc
import Models
import Vocabulary

/// Rows of queries, keys or values by head: [batch, heads, rows, width].
struct Heads {
  var values: [Double]
  let batch: Int
  let count: Int
  var rows: Int
  let width: Int

  var shape: [Int] { [batch, count, rows, width] }

  /// Takes a tensor of rank 4 as it is and splits one of rank 3 into heads.
  init(_ call: Call, _ x: Tensor, heads: Int) throws(ModelError) {
    if x.shape.count == 4 {
      (values, batch, count) = (x.reals(), x.shape[0], x.shape[1])
      (rows, width) = (x.shape[2], x.shape[3])
      return
    }
    guard x.shape.count == 3, heads > 0, x.shape[2] % heads == 0 else {
      throw call.error("\(x.shape) cannot be split into \(heads) heads.")
    }
    (batch, count, rows, width) = (x.shape[0], heads, x.shape[1], x.shape[2] / heads)
    values = Reference.transposed(x.reshaped([batch, rows, count, width]), [0, 2, 1, 3]).reals()
  }

  init(values: [Double], shape: [Int]) {
    self.values = values
    (batch, count, rows, width) = (shape[0], shape[1], shape[2], shape[3])
  }

  /// The rows of a cache, then these.
  func following(_ past: Tensor?, _ call: Call) throws(ModelError) -> Heads {
    guard let past else { return self }
    guard past.shape.count == 4, past.shape[0] == batch, past.shape[1] == count,
      past.shape[3] == width
    else { throw call.error("a cache of shape \(past.shape) does not fit \(shape).") }
    let own = Tensor.from(reals: values, .float64, shape)
    let before = Tensor.from(reals: past.reals(), .float64, past.shape)
    let both = try Reference.joined([before, own], axis: 2, call)
    return Heads(values: both.reals(), shape: both.shape)
  }

  /// Rank 3 again: heads side by side in each row.
  func flattened(_ x: Tensor) -> Tensor {
    Reference.transposed(x, [0, 2, 1, 3]).reshaped([batch, rows, count * width])
  }
}

/// How well each query fits each key: [batch, heads, queries, keys].
struct AttentionScores {
  private(set) var values: [Double]
  let shape: [Int]
  /// The type to which every step rounds, as a sequence of operators would.
  var type: ElementType

  init(_ call: Call, _ queries: Heads, _ keys: Heads, _ type: ElementType) throws(ModelError) {
    guard queries.batch == keys.batch, queries.width == keys.width, keys.count > 0,
      queries.count % keys.count == 0
    else { throw call.error("queries \(queries.shape) and keys \(keys.shape) do not fit.") }
    self.type = type
    shape = try call.sized([queries.batch, queries.count, queries.rows, keys.rows])
    let width = queries.width
    let given = Double(call.node.float("scale", default: 0))
    let scale = given == 0 ? 1 / Double(width).squareRoot() : given
    let root = type.rounded(scale.squareRoot())
    let q = queries.values.map { type.rounded($0 * root) }
    let k = keys.values.map { type.rounded($0 * root) }
    values = []
    values.reserveCapacity(shape.elementCount)
    for line in 0..<shape[0] * shape[1] * shape[2] {
      let head = AttentionScores.keyHead(line / shape[2], queries.count, keys.count)
      for key in 0..<keys.rows {
        let start = (head * keys.rows + key) * width
        let sum = (0..<width).reduce(0.0) { $0 + q[line * width + $1] * k[start + $1] }
        values.append(type.rounded(sum))
      }
    }
  }

  /// The head of keys that a head of queries reads: neighbours share one.
  private static func keyHead(_ head: Int, _ queryHeads: Int, _ keyHeads: Int) -> Int {
    head / queryHeads * keyHeads + head % queryHeads / (queryHeads / keyHeads)
  }

  mutating func map(_ function: (Double) -> Double) {
    for index in values.indices { values[index] = type.rounded(function(values[index])) }
  }

  mutating func add(_ bias: AttentionBias) {
    for (index, source) in Broadcasting.sources(of: bias.shape, in: shape).enumerated() {
      values[index] = type.rounded(values[index] + bias.values[source])
    }
  }

  mutating func softmax(in precision: ElementType, emptyRows: Set<Int>) {
    let length = shape[3]
    for row in 0..<(length == 0 ? 0 : values.count / length) {
      let line = Array(values[row * length..<(row + 1) * length])
      let weights = emptyRows.contains(row) ? line.map { _ in 0 } : Reference.softmax(line)
      for (place, weight) in weights.enumerated() {
        values[row * length + place] = precision.rounded(weight)
      }
    }
  }

  /// Applies a subgraph of one input, if the node has it.
  mutating func pass(
    through name: String, in precision: ElementType, _ call: Call
  ) throws(ModelError) {
    guard let graph = call.node.graph(name) else { return }
    let captures = Array(call.inputs.dropFirst(3))
    let scores = Tensor.from(reals: values, precision, shape)
    let result = try Interpreter.run(graph, inputs: [scores], captures: captures)
    guard let first = result.first, first.shape == shape else {
      throw call.error("\(name) changes the shape of what it is given.")
    }
    values = first.reals()
  }

  /// The values of all keys, weighted by the scores.
  func weighted(_ rows: Heads, _ call: Call) throws(ModelError) -> Heads {
    guard rows.batch == shape[0], rows.rows == shape[3], rows.count > 0,
      shape[1] % rows.count == 0
    else { throw call.error("values \(rows.shape) do not fit scores \(shape).") }
    var result: [Double] = []
    for head in 0..<shape[0] * shape[1] {
      let start = AttentionScores.keyHead(head, shape[1], rows.count) * rows.rows * rows.width
      let scores = Array(values[head * shape[2] * shape[3]..<(head + 1) * shape[2] * shape[3]])
      let block = Array(rows.values[start..<start + rows.rows * rows.width])
      result += Reference.product(scores, block, shape[2], shape[3], rows.width)
    }
    return Heads(values: result, shape: [shape[0], shape[1], shape[2], rows.width])
  }
}

/// What is added to the scores: 0 where a query may look, -∞ where it may not, or any mask.
struct AttentionBias {
  private(set) var values: [Double]
  let shape: [Int]
  /// Rows of all scores in which nothing may be looked at.
  private(set) var emptyRows: Set<Int> = []

  init(_ call: Call, _ queries: Heads, _ keys: Heads, past: Int) throws(ModelError) {
    shape = [queries.batch, queries.count, queries.rows, keys.rows]
    values = try AttentionBias.mask(call, shape)
    let lengths = call.optional(6)?.sizes()
    if let lengths, lengths.count != queries.batch {
      throw call.error("\(lengths.count) lengths do not fit a batch of \(queries.batch).")
    }
    let causal = call.int("is_causal", default: 0) != 0
    let left = call.int("left_window_size", default: -1)
    let right = call.int("right_window_size", default: -1)
    for line in 0..<shape[0] * shape[1] * shape[2] {
      let (sample, row) = (line / (shape[1] * shape[2]), line % shape[2])
      let length = lengths?[sample]
      let position = row + (length.map { $0 - queries.rows } ?? past)
      var isEmpty = true
      for key in 0..<shape[3] {
        let hidden =
          (causal && key > position) || (left >= 0 && position - key > left)
          || (right >= 0 && key - position > right) || key >= length ?? .max
        if hidden { values[line * shape[3] + key] = -.infinity }
        if values[line * shape[3] + key] > -.infinity { isEmpty = false }
      }
      if isEmpty { emptyRows.insert(line) }
    }
  }

  /// The mask input for every query and key; keys that it does not reach are hidden.
  private static func mask(_ call: Call, _ shape: [Int]) throws(ModelError) -> [Double] {
    guard let mask = call.optional(3) else {
      return [Double](repeating: 0, count: shape.elementCount)
    }
    let reach = mask.shape.last ?? 1
    var covered = shape
    covered[3] = reach == 1 ? shape[3] : min(reach, shape[3])
    guard Broadcasting.shape([mask.shape, covered]) == covered else {
      throw call.error("a mask of shape \(mask.shape) does not fit \(shape).")
    }
    let given = mask.type == .bool ? mask.truths().map { $0 ? 0 : -.infinity } : mask.reals()
    let sources = Broadcasting.sources(of: mask.shape, in: covered)
    var values = [Double](repeating: -.infinity, count: shape.elementCount)
    for (place, source) in sources.enumerated() {
      values[place / covered[3] * shape[3] + place % covered[3]] = given[source]
    }
    return values
  }
}

extension ElementType {
  /// The nearest number of a half-precision type; others keep what they are given.
  func rounded(_ value: Double) -> Double {
    switch self {
    case .float16: Double(Float16(value))
    case .bfloat16: Double(Float(bitPattern: UInt32(bfloat16Bits(Float(value))) << 16))
    default: value
    }
  }
}
