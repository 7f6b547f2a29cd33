import Foundation
import Models
import Vocabulary

extension Reference {
  /// Operators that turn many numbers into one, along axes.
  static let reductions: [String: Operator] = [
    "ReduceSum": reduce { $0.reduce(0, +) },
    "ReduceMean": reduce { $0.reduce(0, +) / Double($0.count) },
    "ReduceMax": reduce { $0.reduce(-.infinity) { $0.isNaN || $1.isNaN ? .nan : max($0, $1) } },
    "ReduceMin": reduce { $0.reduce(.infinity) { $0.isNaN || $1.isNaN ? .nan : min($0, $1) } },
    "ReduceProd": reduce { $0.reduce(1, *) },
    "ReduceL1": reduce { $0.reduce(0) { $0 + abs($1) } },
    "ReduceL2": reduce { $0.reduce(0) { $0 + $1 * $1 }.squareRoot() },
    "ReduceSumSquare": reduce { $0.reduce(0) { $0 + $1 * $1 } },
    "ReduceLogSum": reduce { log($0.reduce(0, +)) },
    "ReduceLogSumExp": reduce { line in
      let highest = line.reduce(-.infinity, max)
      guard highest.isFinite else { return highest }
      return highest + log(line.reduce(0) { $0 + exp($1 - highest) })
    },
    "ArgMax": extreme { $0 > $1 },
    "ArgMin": extreme { $0 < $1 },
    "CumSum": cumulativeSum,
    "TopK": topK,
  ]

  private static func reduce(_ function: @escaping @Sendable ([Double]) -> Double) -> Operator {
    { (call) throws(ModelError) in
      let x = try call.input(0)
      let rank = x.shape.count
      let named = call.integers("axes", orInput: 1) ?? []
      if named.isEmpty, call.node.int("noop_with_empty_axes", default: 0) != 0 {
        return [.from(reals: x.reals().map { function([$0]) }, x.type, x.shape)]
      }
      var axes = Set<Int>()
      for axis in named { axes.insert(try call.axis(axis, rank: rank)) }
      if named.isEmpty { axes = Set(x.shape.indices) }
      let kept = x.shape.indices.filter { !axes.contains($0) }
      let moved = transposed(x, kept + axes.sorted()).reals()
      let length = axes.reduce(1) { $0 * x.shape[$1] }
      let count = kept.reduce(1) { $0 * x.shape[$1] }
      let values = (0..<count).map { function(Array(moved[$0 * length..<($0 + 1) * length])) }
      let keeps = call.node.int("keepdims", default: 1) != 0
      let shape =
        keeps
        ? x.shape.indices.map { axes.contains($0) ? 1 : x.shape[$0] } : kept.map { x.shape[$0] }
      return [.from(reals: values, x.type, shape)]
    }
  }

  private static func extreme(_ wins: @escaping @Sendable (Double, Double) -> Bool) -> Operator {
    { (call) throws(ModelError) in
      let x = try call.input(0)
      let axis = try call.axis(call.node.int("axis", default: 0), rank: x.shape.count)
      let last = call.node.int("select_last_index", default: 0) != 0
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
      if call.node.int("keepdims", default: 1) != 0 {
        shape[axis] = 1
      } else {
        shape.remove(at: axis)
      }
      return [.from(integers: places, .int64, shape)]
    }
  }

  @Sendable private static func cumulativeSum(_ call: Call) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    let named = try call.input(1).integers().first ?? 0
    let axis = try call.axis(Int(named), rank: x.shape.count)
    let exclusive = call.node.int("exclusive", default: 0) != 0
    let reverse = call.node.int("reverse", default: 0) != 0
    return [
      alongAxis(x, axis) { line in
        var (sum, result) = (0.0, line)
        for place in reverse ? Array(line.indices.reversed()) : Array(line.indices) {
          result[place] = exclusive ? sum : sum + line[place]
          sum += line[place]
        }
        return result
      }
    ]
  }

  @Sendable private static func topK(_ call: Call) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    let axis = try call.axis(call.node.int("axis", default: -1), rank: x.shape.count)
    let k =
      call.node.opset < 10
      ? call.node.int("k", default: 1) : Int(try call.input(1).integers().first ?? 0)
    let largest = call.node.int("largest", default: 1) != 0
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
