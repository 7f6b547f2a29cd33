import Models
import Vocabulary

extension Reference {
  /// Comparisons and logic: tensors of truth values.
  static let comparisons: [String: Operator] = [
    "Equal": equal,
    "Less": compare(real: { $0 < $1 }, integer: { $0 < $1 }),
    "LessOrEqual": compare(real: { $0 <= $1 }, integer: { $0 <= $1 }),
    "Greater": compare(real: { $0 > $1 }, integer: { $0 > $1 }),
    "GreaterOrEqual": compare(real: { $0 >= $1 }, integer: { $0 >= $1 }),
    "And": logic { $0 && $1 },
    "Or": logic { $0 || $1 },
    "Xor": logic { $0 != $1 },
    "Not": { (call) throws(ModelError) in
      let x = try call.input(0)
      return [.from(truths: x.truths().map { !$0 }, x.shape)]
    },
    "IsNaN": { (call) throws(ModelError) in
      let x = try call.input(0)
      return [.from(truths: x.reals().map(\.isNaN), x.shape)]
    },
    "IsInf": { (call) throws(ModelError) in
      let x = try call.input(0)
      let positive = call.int("detect_positive", default: 1) != 0
      let negative = call.int("detect_negative", default: 1) != 0
      let values = x.reals().map { $0.isInfinite && ($0 > 0 ? positive : negative) }
      return [.from(truths: values, x.shape)]
    },
    "Where": choose,
  ]

  private static func compare(
    real: @escaping @Sendable (Double, Double) -> Bool,
    integer: @escaping @Sendable (Int128, Int128) -> Bool
  ) -> Operator {
    { (call) throws(ModelError) in
      let (a, b) = (try call.input(0), try call.input(1))
      let shape = try call.broadcast([a, b])
      let first = Broadcasting.sources(of: a.shape, in: shape)
      let second = Broadcasting.sources(of: b.shape, in: shape)
      if a.type.isReal {
        let (x, y) = (a.reals(), b.reals())
        return [.from(truths: first.indices.map { real(x[first[$0]], y[second[$0]]) }, shape)]
      }
      let (x, y) = (a.integers(), b.integers())
      return [.from(truths: first.indices.map { integer(x[first[$0]], y[second[$0]]) }, shape)]
    }
  }

  @Sendable private static func equal(_ call: Call) throws(ModelError) -> [Tensor?] {
    let (a, b) = (try call.input(0), try call.input(1))
    guard a.type == .string else {
      return try compare(real: { $0 == $1 }, integer: { $0 == $1 })(call)
    }
    let shape = try call.broadcast([a, b])
    let first = Broadcasting.sources(of: a.shape, in: shape)
    let second = Broadcasting.sources(of: b.shape, in: shape)
    let values = first.indices.map { a.strings[first[$0]] == b.strings[second[$0]] }
    return [.from(truths: values, shape)]
  }

  private static func logic(_ function: @escaping @Sendable (Bool, Bool) -> Bool) -> Operator {
    { (call) throws(ModelError) in
      let (a, b) = (try call.input(0), try call.input(1))
      let shape = try call.broadcast([a, b])
      let (x, y) = (a.truths(), b.truths())
      let first = Broadcasting.sources(of: a.shape, in: shape)
      let second = Broadcasting.sources(of: b.shape, in: shape)
      return [.from(truths: first.indices.map { function(x[first[$0]], y[second[$0]]) }, shape)]
    }
  }

  @Sendable private static func choose(_ call: Call) throws(ModelError) -> [Tensor?] {
    let (condition, a, b) = (try call.input(0), try call.input(1), try call.input(2))
    let shape = try call.broadcast([condition, a, b])
    let wanted = condition.truths()
    let which = Broadcasting.sources(of: condition.shape, in: shape)
    let first = Broadcasting.sources(of: a.shape, in: shape)
    let second = Broadcasting.sources(of: b.shape, in: shape)
    let both = try joined(
      [a.reshaped([a.elementCount]), b.reshaped([b.elementCount])], axis: 0, call)
    return [
      both.gathered(shape) {
        wanted[which[$0]] ? first[$0] : a.elementCount + second[$0]
      }
    ]
  }
}
