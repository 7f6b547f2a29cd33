import Glibc
import Models
import Vocabulary

extension Reference {
  /// What fusion makes: each is the sequence of operators that it stands for.
  static let fused: [String: Operator] = [
    "stowage.FusedConv": { (call) throws(ModelError) in
      let sum = try convolve(call)
      return [try finish(call, sum.values, try call.input(0).type, sum.shape, residual: 3)]
    },
    "stowage.FusedGemm": { (call) throws(ModelError) in
      let sum = try generalProduct(call)
      return [try finish(call, sum.values, try call.input(0).type, sum.shape, residual: 3)]
    },
    "stowage.FusedConvTranspose": { (call) throws(ModelError) in
      guard let sum = try transposedConvolution(call)[0] else { return [nil] }
      return [try finish(call, sum.reals(), sum.type, sum.shape, residual: 3)]
    },
    "stowage.FusedBatchNormalization": { (call) throws(ModelError) in
      let results = try batchNormalization(call)
      guard let activation = try activation(of: call) else { return results }
      return results.map { result in
        result.map { .from(reals: $0.reals().map(activation), $0.type, $0.shape) }
      }
    },
    "stowage.Attention": fusedAttention,
    "stowage.PickRows": pickedRows,
    "stowage.FusedMatMul": { (call) throws(ModelError) in
      let (a, b) = (try call.input(0), try call.input(1))
      var result = try matrixProduct(call, a, b)
      if let bias = call.optional(2) {
        result = try combine(call, result, bias, real: { $0 + $1 }, integer: { $0 + $1 })
      }
      return [try finish(call, result.reals(), a.type, result.shape, residual: 3)]
    },
  ]

  /// The last row stands for numbers that no other row has.
  @Sendable private static func pickedRows(_ call: Call) throws(ModelError) -> [Tensor?] {
    let (numbers, table) = (try call.input(0), try call.input(1))
    guard table.shape.count == 2, table.shape[0] > 0, numbers.shape.last == 1 else {
      throw call.error("rows of a table of shape \(table.shape) cannot be picked.")
    }
    let (rows, width, values) = (table.shape[0], table.shape[1], table.reals())
    let picked = numbers.reals().flatMap { number in
      let row = number >= 0 && number < Double(rows - 1) ? Int(number) : rows - 1
      return values[row * width..<(row + 1) * width]
    }
    return [.from(reals: picked, table.type, numbers.shape.dropLast() + [width])]
  }

  /// Adds the residual, if there is one, applies the activation, then a scale and a shift.
  private static func finish(
    _ call: Call, _ values: [Double], _ type: ElementType, _ shape: [Int], residual: Int
  ) throws(ModelError) -> Tensor {
    var values = values
    if let other = call.optional(residual) {
      guard Broadcasting.shape([other.shape, shape]) == shape else {
        throw call.error("a residual of shape \(other.shape) does not fit \(shape).")
      }
      let added = other.reals()
      for (index, source) in Broadcasting.sources(of: other.shape, in: shape).enumerated() {
        values[index] += added[source]
      }
    }
    if let activation = try activation(of: call) { values = values.map(activation) }
    let scale = Double(call.node.float("scale", default: 1))
    let shift = Double(call.node.float("shift", default: 0))
    if scale != 1 || shift != 0 { values = values.map { $0 * scale + shift } }
    return .from(reals: values, type, shape)
  }

  /// The activation of a fused node, or nil for none.
  static func activation(of call: Call) throws(ModelError) -> ((Double) -> Double)? {
    let node = call.node
    switch node.string("activation", default: "") {
    case "": return nil
    case "Relu": return { max($0, 0) }
    case "Clip":
      let low = Double(node.float("alpha", default: -.infinity))
      let high = Double(node.float("beta", default: .infinity))
      return { min(max($0, low), high) }
    case "Sigmoid": return sigmoid
    case "Silu": return { $0 * sigmoid($0) }
    case "Tanh": return tanh
    case "Gelu": return { gelu($0, approximate: false) }
    case "GeluTanh": return { gelu($0, approximate: true) }
    case "HardSwish": return { $0 * max(0, min(1, $0 / 6 + 0.5)) }
    case "Mish": return { $0 * tanh(softplus($0)) }
    case let name where ["LeakyRelu", "Elu", "HardSigmoid"].contains(name):
      return parametric(name, node)
    case let name: throw call.error("activation \(name) is not known.")
    }
  }
}
