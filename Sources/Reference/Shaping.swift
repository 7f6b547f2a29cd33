import Models
import Vocabulary

extension Reference {
  /// Operators that change or tell the shape and leave the elements as they are.
  static let shaping: [String: Operator] = [
    "Identity": { (call) throws(ModelError) in [try call.input(0)] },
    // An optional that is not a tensor never gets here.
    "OptionalGetElement": { (call) throws(ModelError) in [try call.input(0)] },
    "OptionalHasElement": { call in [.from(truths: [call.optional(0) != nil], [])] },
    "Dropout": dropout,
    "Reshape": reshape,
    "Flatten": flatten,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Transpose": transpose,
    "Expand": expand,
    "Tile": tile,
    "Shape": shape,
    "Size": { (call) throws(ModelError) in
      [.from(integers: [Int128(try call.input(0).elementCount)], .int64, [])]
    },
  ]

  /// In inference nothing is dropped; the mask says so.
  @Sendable private static func dropout(_ call: Call) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    guard call.node.outputs.count > 1 else { return [x] }
    let kept = [Bool](repeating: true, count: x.elementCount)
    let mask = Tensor.from(truths: kept, x.shape)
    return [x, call.node.opset < 10 ? .from(reals: mask.reals(), x.type, x.shape) : mask]
  }

  @Sendable private static func reshape(_ call: Call) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    guard let wanted = call.integers("shape", orInput: 1) else {
      throw call.error("the new shape is missing.")
    }
    let keepsZero = call.int("allowzero", default: 0) != 0
    var shape = wanted
    for axis in shape.indices where shape[axis] == 0 && !keepsZero {
      guard axis < x.shape.count else {
        throw call.error("dimension \(axis) is to be copied, but the input has none.")
      }
      shape[axis] = x.shape[axis]
    }
    if let free = shape.firstIndex(of: -1) {
      shape[free] = 1
      let known = try call.sized(shape).elementCount
      guard known != 0, x.elementCount % known == 0 else {
        throw call.error("\(x.shape) cannot become \(wanted).")
      }
      shape[free] = x.elementCount / known
    }
    guard try call.sized(shape).elementCount == x.elementCount else {
      throw call.error("\(x.shape) cannot become \(wanted).")
    }
    return [x.reshaped(shape)]
  }

  @Sendable private static func flatten(_ call: Call) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    let axis = call.int("axis", default: 1)
    let border = axis < 0 ? axis + x.shape.count : axis
    guard (0...x.shape.count).contains(border) else {
      throw call.error("axis \(axis) does not exist in a tensor of rank \(x.shape.count).")
    }
    let rows = Array(x.shape[..<border]).elementCount
    return [x.reshaped([rows, Array(x.shape[border...]).elementCount])]
  }

  @Sendable private static func squeeze(_ call: Call) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    var axes = Set<Int>()
    if let named = call.integers("axes", orInput: 1) {
      for axis in named { axes.insert(try call.axis(axis, in: x)) }
    } else {
      axes = Set(x.shape.indices.filter { x.shape[$0] == 1 })
    }
    guard axes.allSatisfy({ x.shape[$0] == 1 }) else {
      throw call.error("axes \(axes.sorted()) of \(x.shape) are not all 1.")
    }
    return [x.reshaped(x.shape.indices.filter { !axes.contains($0) }.map { x.shape[$0] })]
  }

  @Sendable private static func unsqueeze(_ call: Call) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    guard let named = call.integers("axes", orInput: 1) else {
      throw call.error("axes are missing.")
    }
    let rank = x.shape.count + named.count
    var axes = Set<Int>()
    for axis in named { axes.insert(try call.axis(axis, rank: rank)) }
    guard axes.count == named.count else { throw call.error("axes \(named) are named twice.") }
    var rest = x.shape[...]
    return [x.reshaped((0..<rank).map { axes.contains($0) ? 1 : rest.removeFirst() })]
  }

  @Sendable private static func transpose(_ call: Call) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    let order = call.ints("perm") ?? x.shape.indices.reversed()
    guard order.sorted() == Array(x.shape.indices) else {
      throw call.error("perm \(order) does not order \(x.shape.count) axes.")
    }
    return [transposed(x, order)]
  }

  static func transposed(_ x: Tensor, _ order: [Int]) -> Tensor {
    let shape = order.map { x.shape[$0] }
    let own = strides(of: x.shape)
    let steps = order.map { own[$0] }
    var sources: [Int] = []
    sources.reserveCapacity(x.elementCount)
    forEachIndex(of: shape) { index in
      var source = 0
      for axis in index.indices { source += index[axis] * steps[axis] }
      sources.append(source)
    }
    return x.gathered(shape) { sources[$0] }
  }

  @Sendable private static func expand(_ call: Call) throws(ModelError) -> [Tensor?] {
    let (x, wanted) = (try call.input(0), try call.input(1).sizes())
    guard let wide = Broadcasting.shape([x.shape, try call.sized(wanted)]) else {
      throw call.error("\(x.shape) cannot be expanded to \(wanted).")
    }
    let shape = try call.sized(wide)
    let sources = Broadcasting.sources(of: x.shape, in: shape)
    return [x.gathered(shape) { sources[$0] }]
  }

  @Sendable private static func tile(_ call: Call) throws(ModelError) -> [Tensor?] {
    let (x, repeats) = (try call.input(0), try call.input(1).sizes())
    guard repeats.count == x.shape.count, repeats.allSatisfy({ $0 >= 0 }) else {
      throw call.error("repeats \(repeats) do not fit \(x.shape).")
    }
    let shape = try call.sized(zip(x.shape, repeats).map { $0 * $1 })
    let steps = strides(of: x.shape)
    var sources: [Int] = []
    forEachIndex(of: shape) { index in
      sources.append(index.indices.reduce(0) { $0 + index[$1] % x.shape[$1] * steps[$1] })
    }
    return [x.gathered(shape) { sources[$0] }]
  }

  @Sendable private static func shape(_ call: Call) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    let rank = x.shape.count
    func bound(_ value: Int) -> Int { min(max(value < 0 ? value + rank : value, 0), rank) }
    let start = bound(call.int("start", default: 0))
    let end = bound(call.int("end", default: rank))
    let dimensions = start < end ? Array(x.shape[start..<end]) : []
    return [.from(integers: dimensions.map { Int128($0) }, .int64, [dimensions.count])]
  }
}
