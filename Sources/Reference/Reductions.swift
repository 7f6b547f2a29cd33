import Glibc
import Models
import Vocabulary

extension Reference {
  /// Operators that turn many numbers into one, along axes.
  static let reductions: [String: Operator] = [
    "ReduceSum": reduce(
      real: { $0.reduce(0, +) }, integer: { line, _ in line.reduce(0, +) }),
    "ReduceMean": reduce { $0.reduce(0, +) / Double($0.count) },
    "ReduceMax": reduce(
      real: { $0.reduce(-.infinity) { $0.isNaN || $1.isNaN ? .nan : max($0, $1) } },
      integer: { line, bounds in line.reduce(bounds.lowerBound, max) }),
    "ReduceMin": reduce(
      real: { $0.reduce(.infinity) { $0.isNaN || $1.isNaN ? .nan : min($0, $1) } },
      integer: { line, bounds in line.reduce(bounds.upperBound, min) }),
    "ReduceProd": reduce(
      real: { $0.reduce(1, *) }, integer: { line, _ in line.reduce(1, &*) }),
    "ReduceL1": reduce(
      real: { $0.reduce(0) { $0 + abs($1) } },
      integer: { line, _ in line.reduce(0) { $0 + abs($1) } }),
    "ReduceL2": reduce { $0.reduce(0) { $0 + $1 * $1 }.squareRoot() },
    "ReduceSumSquare": reduce(
      real: { $0.reduce(0) { $0 + $1 * $1 } },
      integer: { line, _ in line.reduce(0) { $0 &+ $1 &* $1 } }),
    "ReduceLogSum": reduce { log($0.reduce(0, +)) },
    "ReduceLogSumExp": reduce { line in
      let highest = line.reduce(-.infinity, max)
      guard highest.isFinite else { return highest }
      return highest + log(line.reduce(0) { $0 + exp($1 - highest) })
    },
    "ArgMax": extreme { $0 > $1 },
    "ArgMin": extreme { $0 < $1 },
    "CumSum": cumulative(0) { $0 + $1 },
    "CumProd": cumulative(1) { $0 * $1 },
    "Det": determinant,
    "TopK": topK,
  ]

  /// A reduction of real numbers that integers go through as well, rounded towards zero.
  private static func reduce(_ function: @escaping @Sendable ([Double]) -> Double) -> Operator {
    { (call) throws(ModelError) in
      let lines = try Lines(call)
      let values = lines.map(try call.input(0).reals(), function)
      return [.from(reals: values, try call.input(0).type, lines.result)]
    }
  }

  /// A reduction that is exact for integers, which also get the bounds of their type.
  private static func reduce(
    real: @escaping @Sendable ([Double]) -> Double,
    integer: @escaping @Sendable ([Int128], ClosedRange<Int128>) -> Int128
  ) -> Operator {
    { (call) throws(ModelError) in
      let x = try call.input(0)
      guard !x.type.isReal else { return try reduce(real)(call) }
      let (lines, bounds) = (try Lines(call), x.type.integerBounds)
      let values = lines.map(x.integers()) { integer($0, bounds) }
      return [.from(integers: values, x.type, lines.result)]
    }
  }

  private static func extreme(_ wins: @escaping @Sendable (Double, Double) -> Bool) -> Operator {
    { (call) throws(ModelError) in
      let x = try call.input(0)
      let axis = try call.axis(call.int("axis", default: 0), in: x)
      let last = call.int("select_last_index", default: 0) != 0
      let values = x.reals()
      let (size, inner) = (x.shape[axis], Array(x.shape[(axis + 1)...]).elementCount)
      guard size > 0 else { throw call.error("axis \(axis) of \(x.shape) is empty.") }
      var places: [Int128] = []
      for block in 0..<Array(x.shape[..<axis]).elementCount {
        for offset in 0..<inner {
          func value(_ place: Int) -> Double { values[(block * size + place) * inner + offset] }
          var best = 0
          for place in 1..<max(size, 1) where size > 1 {
            if wins(value(place), value(best)) || (last && value(place) == value(best)) {
              best = place
            }
          }
          places.append(Int128(best))
        }
      }
      var shape = x.shape
      if call.int("keepdims", default: 1) != 0 {
        shape[axis] = 1
      } else {
        shape.remove(at: axis)
      }
      return [.from(integers: places, .int64, shape)]
    }
  }

  /// Sums or products of everything up to each element of an axis.
  private static func cumulative(
    _ neutral: Double, _ function: @escaping @Sendable (Double, Double) -> Double
  ) -> Operator {
    { (call) throws(ModelError) in
      let x = try call.input(0)
      let named = try call.input(1).integers().first ?? 0
      let axis = try call.axis(Int(clamping: named), in: x)
      let exclusive = call.int("exclusive", default: 0) != 0
      let reverse = call.int("reverse", default: 0) != 0
      return [
        alongAxis(x, axis) { line in
          var (value, result) = (neutral, line)
          for place in reverse ? Array(line.indices.reversed()) : Array(line.indices) {
            let next = function(value, line[place])
            result[place] = exclusive ? value : next
            value = next
          }
          return result
        }
      ]
    }
  }

  /// By elimination, with the largest element of each column as its pivot.
  @Sendable private static func determinant(_ call: Call) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    let rank = x.shape.count
    guard rank >= 2, x.shape[rank - 1] == x.shape[rank - 2] else {
      throw call.error("\(x.shape) are no square matrices.")
    }
    let size = x.shape[rank - 1]
    let values = x.reals()
    let shape = Array(x.shape.dropLast(2))
    let result = (0..<shape.elementCount).map { matrix -> Double in
      var rows = (0..<size).map { row -> [Double] in
        let start = (matrix * size + row) * size
        return Array(values[start..<start + size])
      }
      var product = 1.0
      for column in 0..<size {
        let pivot = (column..<size).max { abs(rows[$0][column]) < abs(rows[$1][column]) } ?? column
        if rows[pivot][column] == 0 { return 0 }
        if pivot != column {
          rows.swapAt(pivot, column)
          product = -product
        }
        product *= rows[column][column]
        for row in column + 1..<max(size, column + 1) {
          let factor = rows[row][column] / rows[column][column]
          for place in column..<size { rows[row][place] -= factor * rows[column][place] }
        }
      }
      return product
    }
    return [.from(reals: result, x.type, shape)]
  }

  @Sendable private static func topK(_ call: Call) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    let axis = try call.axis(call.int("axis", default: -1), in: x)
    let k =
      call.node.opset < 10
      ? call.int("k", default: 1) : try call.input(1).sizes().first ?? 0
    let largest = call.int("largest", default: 1) != 0
    guard k >= 0, k <= x.shape[axis] else {
      throw call.error("\(k) of \(x.shape[axis]) elements cannot be picked.")
    }
    let values = x.reals()
    let (size, inner) = (x.shape[axis], Array(x.shape[(axis + 1)...]).elementCount)
    var shape = x.shape
    shape[axis] = k
    var (sources, places) = (
      [Int](repeating: 0, count: shape.elementCount),
      [Int128](repeating: 0, count: shape.elementCount)
    )
    for block in 0..<Array(x.shape[..<axis]).elementCount {
      for offset in 0..<inner {
        func source(_ place: Int) -> Int { (block * size + place) * inner + offset }
        let order = (0..<size).sorted {
          let (a, b) = (values[source($0)], values[source($1)])
          return a == b ? $0 < $1 : largest ? a > b : a < b
        }
        for rank in 0..<k {
          let target = (block * k + rank) * inner + offset
          sources[target] = source(order[rank])
          places[target] = Int128(order[rank])
        }
      }
    }
    return [x.gathered(shape) { sources[$0] }, .from(integers: places, .int64, shape)]
  }
}

/// The lines of elements that a reduction turns into one each.
private struct Lines {
  /// For every line, the elements in it.
  private let sources: [Int]
  private let length: Int
  private let count: Int
  /// The shape of the result.
  let result: [Int]

  init(_ call: Call) throws(ModelError) {
    let x = try call.input(0)
    let named = call.integers("axes", orInput: 1) ?? []
    let keepsAll = named.isEmpty && call.int("noop_with_empty_axes", default: 0) != 0
    var axes = Set<Int>()
    for axis in named { axes.insert(try call.axis(axis, in: x)) }
    if named.isEmpty, !keepsAll { axes = Set(x.shape.indices) }
    let kept = x.shape.indices.filter { !axes.contains($0) }
    let order = kept + axes.sorted()
    let steps = order.map { strides(of: x.shape)[$0] }
    var sources: [Int] = []
    sources.reserveCapacity(x.elementCount)
    forEachIndex(of: order.map { x.shape[$0] }) { index in
      var source = 0
      for place in index.indices { source += index[place] * steps[place] }
      sources.append(source)
    }
    self.sources = sources
    length = axes.reduce(1) { $0 * x.shape[$1] }
    count = kept.reduce(1) { $0 * x.shape[$1] }
    let keeps = call.int("keepdims", default: 1) != 0
    result =
      keeps
      ? x.shape.indices.map { axes.contains($0) ? 1 : x.shape[$0] } : kept.map { x.shape[$0] }
  }

  func map<Number>(_ values: [Number], _ function: ([Number]) -> Number) -> [Number] {
    (0..<count).map { line in
      function(sources[line * length..<(line + 1) * length].map { values[$0] })
    }
  }
}
