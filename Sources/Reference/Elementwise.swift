import Glibc
import Models
import Vocabulary

extension Reference {
  /// Arithmetic on two or more tensors, with broadcasting.
  static let elementwise: [String: Operator] = [
    "Add": binary(real: { $0 + $1 }, integer: { $0 + $1 }),
    "Sub": binary(real: { $0 - $1 }, integer: { $0 - $1 }),
    "Mul": binary(real: { $0 * $1 }, integer: { $0 &* $1 }),
    "Div": binary(real: { $0 / $1 }, integer: { $1 == 0 ? 0 : $0 / $1 }),
    "Pow": power,
    "Mod": modulo,
    "PRelu": binary(real: { $0 < 0 ? $0 * $1 : $0 }, integer: { $0 < 0 ? $0 &* $1 : $0 }),
    "Max": folded(real: larger, integer: max),
    "Min": folded(real: smaller, integer: min),
    "Sum": folded(real: { $0 + $1 }, integer: { $0 + $1 }),
    "Mean": mean,
    "BitShift": bitShift,
    "BitwiseAnd": binary(real: { $0 + $1 }, integer: { $0 & $1 }),
    "BitwiseOr": binary(real: { $0 + $1 }, integer: { $0 | $1 }),
    "BitwiseXor": binary(real: { $0 + $1 }, integer: { $0 ^ $1 }),
    "BitwiseNot": { (call) throws(ModelError) in
      let x = try call.input(0)
      return [.from(integers: x.integers().map { ~$0 }, x.type, x.shape)]
    },
  ]

  /// Applies a function of two numbers to tensors of one type.
  static func combine(
    _ call: Call, _ a: Tensor, _ b: Tensor, real: (Double, Double) -> Double,
    integer: (Int128, Int128) -> Int128
  ) throws(ModelError) -> Tensor {
    let shape = try call.broadcast([a, b])
    let first = Broadcasting.sources(of: a.shape, in: shape)
    let second = Broadcasting.sources(of: b.shape, in: shape)
    if a.type.isReal {
      let (x, y) = (a.reals(), b.reals())
      let values = first.indices.map { real(x[first[$0]], y[second[$0]]) }
      return .from(reals: values, a.type, shape)
    }
    let (x, y) = (a.integers(), b.integers())
    let values = first.indices.map { integer(x[first[$0]], y[second[$0]]) }
    return .from(integers: values, a.type, shape)
  }

  static func binary(
    real: @escaping @Sendable (Double, Double) -> Double,
    integer: @escaping @Sendable (Int128, Int128) -> Int128
  ) -> Operator {
    { (call) throws(ModelError) in
      let (a, b) = (try call.input(0), try call.input(1))
      return [try combine(call, a, b, real: real, integer: integer)]
    }
  }

  /// A function of two numbers over any number of tensors, from the left.
  private static func folded(
    real: @escaping @Sendable (Double, Double) -> Double,
    integer: @escaping @Sendable (Int128, Int128) -> Int128
  ) -> Operator {
    { (call) throws(ModelError) in
      var result = try call.input(0)
      for index in call.inputs.indices.dropFirst() {
        let next = try call.input(index)
        result = try combine(call, result, next, real: real, integer: integer)
      }
      return [result]
    }
  }

  @Sendable private static func larger(_ a: Double, _ b: Double) -> Double {
    a.isNaN || b.isNaN ? .nan : max(a, b)
  }

  @Sendable private static func smaller(_ a: Double, _ b: Double) -> Double {
    a.isNaN || b.isNaN ? .nan : min(a, b)
  }

  @Sendable private static func mean(_ call: Call) throws(ModelError) -> [Tensor?] {
    var result = try call.input(0)
    for index in call.inputs.indices.dropFirst() {
      let next = try call.input(index)
      result = try combine(call, result, next, real: { $0 + $1 }, integer: { $0 + $1 })
    }
    let count = Double(call.inputs.count)
    return [.from(reals: result.reals().map { $0 / count }, result.type, result.shape)]
  }

  /// The result has the base's type, whatever the exponent's.
  @Sendable private static func power(_ call: Call) throws(ModelError) -> [Tensor?] {
    let (base, exponent) = (try call.input(0), try call.input(1))
    let shape = try call.broadcast([base, exponent])
    let (x, y) = (base.reals(), exponent.reals())
    let first = Broadcasting.sources(of: base.shape, in: shape)
    let second = Broadcasting.sources(of: exponent.shape, in: shape)
    let values = first.indices.map { pow(x[first[$0]], y[second[$0]]) }
    return [.from(reals: values, base.type, shape)]
  }

  /// With `fmod` the sign follows the dividend, else the divisor.
  @Sendable private static func modulo(_ call: Call) throws(ModelError) -> [Tensor?] {
    let (a, b) = (try call.input(0), try call.input(1))
    let truncates = call.int("fmod", default: 0) != 0
    return [
      try combine(
        call, a, b,
        real: { x, y in
          let remainder = fmod(x, y)
          return truncates || remainder == 0 || (remainder < 0) == (y < 0)
            ? remainder : remainder + y
        },
        integer: { x, y in
          guard y != 0 else { return 0 }
          let remainder = x % y
          return truncates || remainder == 0 || (remainder < 0) == (y < 0)
            ? remainder : remainder + y
        })
    ]
  }

  @Sendable private static func bitShift(_ call: Call) throws(ModelError) -> [Tensor?] {
    let (a, b) = (try call.input(0), try call.input(1))
    let left = call.node.string("direction", default: "LEFT") == "LEFT"
    let width = Int128(8 * a.type.byteSize)
    return [
      try combine(
        call, a, b, real: { x, _ in x },
        integer: { value, shift in
          // A count that is negative or too large shifts every bit out.
          guard shift >= 0, shift < width else { return !left && value < 0 ? -1 : 0 }
          return left ? value << shift : value >> shift
        })
    ]
  }
}
