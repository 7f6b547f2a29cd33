import Glibc
import Models
import Vocabulary

extension Reference {
  /// Functions of one number.
  static let activations: [String: Operator] = [
    "Relu": unary { max($0, 0) }, "Neg": unary { -$0 }, "Abs": unary(abs),
    "Sqrt": unary { $0.squareRoot() }, "Exp": unary(exp), "Log": unary(log),
    "Reciprocal": unary { 1 / $0 }, "Floor": unary { $0.rounded(.down) },
    "Ceil": unary { $0.rounded(.up) }, "Round": unary { $0.rounded(.toNearestOrEven) },
    "Sin": unary(sin), "Cos": unary(cos), "Tan": unary(tan), "Asin": unary(asin),
    "Acos": unary(acos), "Atan": unary(atan), "Sinh": unary(sinh), "Cosh": unary(cosh),
    "Tanh": unary(tanh), "Asinh": unary(asinh), "Acosh": unary(acosh), "Atanh": unary(atanh),
    "Erf": unary(erf), "Sigmoid": unary(sigmoid), "Softplus": unary { softplus($0) },
    "Softsign": unary { $0 / (1 + abs($0)) },
    "Sign": unary { $0.isNaN ? .nan : $0 > 0 ? 1 : $0 < 0 ? -1 : 0 },
    "HardSwish": unary { $0 * max(0, min(1, $0 / 6 + 0.5)) },
    "Mish": unary { $0 * tanh(softplus($0)) },
    "Clip": clip,
    "Gelu": { (call) throws(ModelError) in
      let approximate = call.node.string("approximate", default: "none") == "tanh"
      return try map(call, { gelu($0, approximate: approximate) })
    },
    "LeakyRelu": parametrised, "Elu": parametrised, "Selu": parametrised,
    "Celu": parametrised, "HardSigmoid": parametrised, "ThresholdedRelu": parametrised,
    "Swish": parametrised, "Shrink": parametrised,
    "stowage.Silu": unary { $0 * sigmoid($0) },
  ]

  @Sendable private static func parametrised(_ call: Call) throws(ModelError) -> [Tensor?] {
    try map(call, parametric(call.node.operation, call.node))
  }

  /// Applies a function of one number to the first input.
  static func map(
    _ call: Call, _ function: (Double) -> Double
  ) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    return [.from(reals: x.reals().map(function), x.type, x.shape)]
  }

  static func unary(_ function: @escaping @Sendable (Double) -> Double) -> Operator {
    { (call) throws(ModelError) in try map(call, function) }
  }

  @Sendable static func sigmoid(_ x: Double) -> Double { 1 / (1 + exp(-x)) }

  /// log(1 + eˣ) without overflow.
  static func softplus(_ x: Double) -> Double { max(x, 0) + log1p(exp(-abs(x))) }

  /// Hendrycks and Gimpel, "Gaussian Error Linear Units" (2016), exactly or by its tanh form.
  static func gelu(_ x: Double, approximate: Bool) -> Double {
    approximate
      ? 0.5 * x * (1 + tanh((2 / Double.pi).squareRoot() * (x + 0.044715 * x * x * x)))
      : 0.5 * x * (1 + erf(x / 2.0.squareRoot()))
  }

  /// Functions with constants from the node's attributes.
  static func parametric(_ name: String, _ node: Node) -> (Double) -> Double {
    func constant(_ attribute: String, _ fallback: Float) -> Double {
      Double(node.float(attribute, default: fallback))
    }
    switch name {
    case "LeakyRelu":
      let alpha = constant("alpha", 0.01)
      return { $0 < 0 ? alpha * $0 : $0 }
    case "Elu":
      let alpha = constant("alpha", 1)
      return { $0 < 0 ? alpha * expm1($0) : $0 }
    case "Selu":
      let (alpha, gamma) = (constant("alpha", 1.673_263_2), constant("gamma", 1.050_701))
      return { gamma * ($0 < 0 ? alpha * expm1($0) : $0) }
    case "Celu":
      let alpha = constant("alpha", 1)
      return { max(0, $0) + min(0, alpha * expm1($0 / alpha)) }
    case "HardSigmoid":
      let (alpha, beta) = (constant("alpha", 0.2), constant("beta", 0.5))
      return { max(0, min(1, alpha * $0 + beta)) }
    case "Swish":
      let alpha = constant("alpha", 1)
      return { $0 * sigmoid(alpha * $0) }
    case "Shrink":
      let (bias, lambda) = (constant("bias", 0), constant("lambd", 0.5))
      return { $0 < -lambda ? $0 + bias : $0 > lambda ? $0 - bias : 0 }
    default:
      let alpha = constant("alpha", 1)
      return { $0 > alpha ? $0 : 0 }
    }
  }

  /// Bounds are attributes before opset 11, inputs since.
  @Sendable private static func clip(_ call: Call) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    if !x.type.isReal {
      let low = call.optional(1)?.integers().first
      let high = call.optional(2)?.integers().first
      let values = x.integers().map { value in
        let raised = low.map { max(value, $0) } ?? value
        return high.map { min(raised, $0) } ?? raised
      }
      return [.from(integers: values, x.type, x.shape)]
    }
    let before11 = call.node.opset < 11
    let low =
      before11
      ? Double(call.node.float("min", default: -.greatestFiniteMagnitude))
      : call.optional(1)?.reals().first ?? -.infinity
    let high =
      before11
      ? Double(call.node.float("max", default: .greatestFiniteMagnitude))
      : call.optional(2)?.reals().first ?? .infinity
    return try map(call) { $0.isNaN ? $0 : min(max($0, low), high) }
  }
}
