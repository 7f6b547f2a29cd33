import Models
import Vocabulary

extension Reference {
  /// Operators that keep, reorder or reinterpret elements.
  static let selection: [String: Operator] = [
    "Compress": compress,
    "ReverseSequence": reverseSequence,
    "Trilu": triangle,
    "Unique": unique,
    "CenterCropPad": centreCropPad,
    "BitCast": bitCast,
  ]

  @Sendable private static func compress(_ call: Call) throws(ModelError) -> [Tensor?] {
    var x = try call.input(0)
    var axis = 0
    if case .int(let named)? = call.node.attributes["axis"] {
      axis = try call.axis(named, in: x)
    } else {
      x = x.reshaped([x.elementCount])
    }
    let size = x.shape[axis]
    let kept = try call.input(1).truths().prefix(size).enumerated().filter(\.element).map(\.offset)
    let inner = Array(x.shape[(axis + 1)...]).elementCount
    var shape = x.shape
    shape[axis] = kept.count
    return [
      x.gathered(shape) { position in
        let (line, offset) = (position / inner, position % inner)
        return (line / kept.count * size + kept[line % kept.count]) * inner + offset
      }
    ]
  }

  @Sendable private static func reverseSequence(_ call: Call) throws(ModelError) -> [Tensor?] {
    let (x, lengths) = (try call.input(0), try call.input(1).sizes())
    let time = try call.axis(call.int("time_axis", default: 0), in: x)
    let batch = try call.axis(call.int("batch_axis", default: 1), in: x)
    guard lengths.count == x.shape[batch], lengths.allSatisfy({ (0...x.shape[time]).contains($0) })
    else { throw call.error("lengths \(lengths) do not fit \(x.shape).") }
    let own = strides(of: x.shape)
    var sources: [Int] = []
    forEachIndex(of: x.shape) { index in
      let (place, length) = (index[time], lengths[index[batch]])
      let source = place < length ? length - 1 - place : place
      sources.append(
        index.indices.reduce(0) { $0 + ($1 == time ? source : index[$1]) * own[$1] })
    }
    return [x.gathered(x.shape) { sources[$0] }]
  }

  @Sendable private static func triangle(_ call: Call) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    guard x.shape.count >= 2 else { throw call.error("a matrix is needed.") }
    let diagonal = call.optional(1)?.sizes().first ?? 0
    let upper = call.int("upper", default: 1) != 0
    let (rows, columns) = (x.shape[x.shape.count - 2], x.shape[x.shape.count - 1])
    return [
      x.gathered(x.shape) { position in
        let offset = position % columns - position / columns % rows
        return (upper ? offset >= diagonal : offset <= diagonal) ? position : nil
      }
    ]
  }

  /// For every element its rank among the distinct ones, so that all types compare alike.
  private static func ranks(_ x: Tensor) -> [Int] {
    func ranked<Key: Hashable>(_ keys: [Key], _ before: (Key, Key) -> Bool) -> [Int] {
      var places: [Key: Int] = [:]
      for key in Set(keys).sorted(by: before) { places[key] = places.count }
      return keys.map { places[$0] ?? places.count }
    }
    if x.type == .string { return ranked(x.strings) { $0.lexicographicallyPrecedes($1) } }
    return x.type.isReal ? ranked(x.reals(), <) : ranked(x.integers(), <)
  }

  /// The distinct slices, where each is first found, which one each slice is, how often it comes.
  @Sendable private static func unique(_ call: Call) throws(ModelError) -> [Tensor?] {
    var x = try call.input(0)
    var axis = 0
    if case .int(let named)? = call.node.attributes["axis"] {
      axis = try call.axis(named, in: x)
    } else {
      x = x.reshaped([x.elementCount])
    }
    let (size, inner) = (x.shape[axis], Array(x.shape[(axis + 1)...]).elementCount)
    let outer = Array(x.shape[..<axis]).elementCount
    let keys = ranks(x)
    let slices = (0..<size).map { place in
      (0..<outer * inner).map { keys[($0 / inner * size + place) * inner + $0 % inner] }
    }
    var (firsts, counts, classes) = ([Int](), [Int128](), [[Int]: Int]())
    var inverse = slices.enumerated().map { place, slice in
      let known = classes[slice] ?? firsts.count
      if known == firsts.count {
        classes[slice] = known
        firsts.append(place)
        counts.append(0)
      }
      counts[known] += 1
      return known
    }
    if call.int("sorted", default: 1) != 0 {
      let order = firsts.indices.sorted {
        slices[firsts[$0]].lexicographicallyPrecedes(slices[firsts[$1]])
      }
      var places = order
      for (place, old) in order.enumerated() { places[old] = place }
      inverse = inverse.map { places[$0] }
      firsts = order.map { firsts[$0] }
      counts = order.map { counts[$0] }
    }
    var shape = x.shape
    shape[axis] = firsts.count
    let kept = firsts
    let picked = x.gathered(shape) { position in
      let (line, offset) = (position / inner, position % inner)
      return (line / kept.count * size + kept[line % kept.count]) * inner + offset
    }
    func numbers(_ values: [Int128]) -> Tensor { .from(integers: values, .int64, [values.count]) }
    return [
      picked, numbers(firsts.map { Int128($0) }), numbers(inverse.map { Int128($0) }),
      numbers(counts),
    ].prefix(max(call.node.outputs.count, 1)).map { $0 }
  }

  /// Cuts or pads axes about their middle; an odd element is cut or added at the end.
  @Sendable private static func centreCropPad(_ call: Call) throws(ModelError) -> [Tensor?] {
    let (x, sizes) = (try call.input(0), try call.input(1).sizes())
    var axes: [Int] = []
    for axis in call.ints("axes") ?? Array(x.shape.indices) {
      axes.append(try call.axis(axis, in: x))
    }
    guard axes.count == sizes.count, sizes.allSatisfy({ $0 >= 0 }) else {
      throw call.error("sizes \(sizes) do not fit axes \(axes).")
    }
    var (shape, shifts) = (x.shape, [Int](repeating: 0, count: x.shape.count))
    for (axis, size) in zip(axes, sizes) {
      let difference = x.shape[axis] - size
      shifts[axis] = difference >= 0 ? difference / 2 : -(-difference / 2)
      shape[axis] = size
    }
    shape = try call.sized(shape)
    let own = strides(of: x.shape)
    var sources: [Int?] = []
    forEachIndex(of: shape) { index in
      let places = index.indices.map { index[$0] + shifts[$0] }
      let inside = places.indices.allSatisfy { (0..<x.shape[$0]).contains(places[$0]) }
      sources.append(inside ? places.indices.reduce(0) { $0 + places[$1] * own[$1] } : nil)
    }
    return [x.gathered(shape) { sources[$0] }]
  }

  /// The same bits as another type of the same size.
  @Sendable private static func bitCast(_ call: Call) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    let type = try castTarget(call, "to", fallback: nil)
    guard type.byteSize == x.type.byteSize, type != .string, x.type != .string else {
      throw call.error("\(x.type.rawValue) and \(type.rawValue) are not of one size.")
    }
    return [Tensor(type: type, shape: x.shape, storage: x.storage)]
  }
}
