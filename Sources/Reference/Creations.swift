import Models
import Vocabulary

extension Reference {
  /// Operators that make tensors out of attributes, shapes and numbers.
  static let creations: [String: Operator] = [
    "Constant": constant,
    "ConstantOfShape": constantOfShape,
    "Range": range,
    "OneHot": oneHot,
    "EyeLike": eyeLike,
    "NonZero": nonZero,
  ]

  @Sendable private static func constant(_ call: Call) throws(ModelError) -> [Tensor?] {
    let attributes = call.node.attributes
    switch attributes.first(where: { $0.key.hasPrefix("value") })?.value {
    case .tensor(let tensor): return [tensor]
    case .float(let value): return [.from(floats: [value], [])]
    case .floats(let values): return [.from(floats: values, [values.count])]
    case .int(let value): return [.from(integers: [Int128(value)], .int64, [])]
    case .ints(let values):
      return [.from(integers: values.map { Int128($0) }, .int64, [values.count])]
    case .string(let value): return [Tensor(strings: [Array(value.utf8)], shape: [])]
    case .strings(let values):
      return [Tensor(strings: values.map { Array($0.utf8) }, shape: [values.count])]
    default: throw call.error("the value is missing or of a kind that is not supported.")
    }
  }

  @Sendable private static func constantOfShape(_ call: Call) throws(ModelError) -> [Tensor?] {
    let shape = try call.sized(try call.input(0).sizes())
    let count = shape.elementCount
    guard case .tensor(let value)? = call.node.attributes["value"] else {
      return [.from(reals: [Double](repeating: 0, count: count), .float32, shape)]
    }
    guard value.elementCount == 1 else { throw call.error("the value is not one element.") }
    return [value.gathered(shape) { _ in 0 }]
  }

  @Sendable private static func range(_ call: Call) throws(ModelError) -> [Tensor?] {
    let (start, limit, delta) = (try call.input(0), try call.input(1), try call.input(2))
    guard let first = start.reals().first, let last = limit.reals().first,
      let step = delta.reals().first
    else { throw call.error("start, limit and delta must be numbers.") }
    let count = max(0, ((last - first) / step).rounded(.up))
    guard step != 0, count <= Double(Limits.computedElements) else {
      throw call.error("from \(first) to \(last) by \(step) is no range.")
    }
    return [
      .from(reals: (0..<Int(count)).map { first + Double($0) * step }, start.type, [Int(count)])
    ]
  }

  @Sendable private static func oneHot(_ call: Call) throws(ModelError) -> [Tensor?] {
    let (picks, depth, values) = (try call.input(0), try call.input(1), try call.input(2))
    let classes = depth.sizes().first ?? 0
    let rank = picks.shape.count + 1
    let axis = try call.axis(call.int("axis", default: -1), rank: rank)
    var shape = picks.shape
    shape.insert(classes, at: axis)
    guard values.elementCount == 2 else { throw call.error("values must be off and on.") }
    shape = try call.sized(shape)
    let inner = Array(shape[(axis + 1)...]).elementCount
    let numbers = picks.integers().map { $0 < 0 ? $0 + Int128(classes) : $0 }
    return [
      values.gathered(shape) { position in
        let (outer, rest) = position.quotientAndRemainder(dividingBy: max(classes * inner, 1))
        return numbers[outer * inner + rest % inner] == Int128(rest / inner) ? 1 : 0
      }
    ]
  }

  @Sendable private static func eyeLike(_ call: Call) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    guard x.shape.count == 2 else { throw call.error("a matrix is needed.") }
    let offset = call.int("k", default: 0)
    let values = (0..<x.elementCount).map { index -> Double in
      index % x.shape[1] - index / x.shape[1] == offset ? 1 : 0
    }
    return [.from(reals: values, try castTarget(call, "dtype", fallback: x.type), x.shape)]
  }

  /// The indices of everything that is not zero, one column each.
  @Sendable private static func nonZero(_ call: Call) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    let truths = x.truths()
    var (columns, position) = ([[Int]](), 0)
    forEachIndex(of: x.shape) { index in
      if truths[position] { columns.append(index) }
      position += 1
    }
    var rows: [Int128] = []
    for axis in x.shape.indices { rows += columns.map { Int128($0[axis]) } }
    return [.from(integers: rows, .int64, [x.shape.count, columns.count])]
  }
}
