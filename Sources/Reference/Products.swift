import Models
import Vocabulary

extension Reference {
  /// Products of matrices.
  static let products: [String: Operator] = [
    "MatMul": { (call) throws(ModelError) in
      [try matrixProduct(call, try call.input(0), try call.input(1))]
    },
    "Gemm": { (call) throws(ModelError) in
      let a = try call.input(0)
      let sum = try generalProduct(call)
      return [.from(reals: sum.values, a.type, sum.shape)]
    },
  ]

  /// alpha · A' · B' + beta · C, where the primes are optional transpositions.
  static func generalProduct(
    _ call: Call
  ) throws(ModelError) -> (values: [Double], shape: [Int]) {
    let (a, b) = (try call.input(0), try call.input(1))
    guard a.shape.count == 2, b.shape.count == 2 else {
      throw call.error("\(a.shape) and \(b.shape) are not matrices.")
    }
    let first = call.int("transA", default: 0) != 0 ? transposed(a, [1, 0]) : a
    let second = call.int("transB", default: 0) != 0 ? transposed(b, [1, 0]) : b
    let (rows, inner, columns) = (first.shape[0], first.shape[1], second.shape[1])
    guard inner == second.shape[0] else {
      throw call.error("matrices \(first.shape) and \(second.shape) do not fit together.")
    }
    _ = try call.sized([rows, columns])
    var sums = product(first.reals(), second.reals(), rows, inner, columns)
    let alpha = Double(call.node.float("alpha", default: 1))
    if alpha != 1 { for index in sums.indices { sums[index] *= alpha } }
    if let c = call.optional(2) {
      let beta = Double(call.node.float("beta", default: 1))
      guard Broadcasting.shape([c.shape, [rows, columns]]) == [rows, columns] else {
        throw call.error("C of shape \(c.shape) does not fit [\(rows), \(columns)].")
      }
      let values = c.reals()
      for (index, source) in Broadcasting.sources(of: c.shape, in: [rows, columns]).enumerated() {
        sums[index] += beta * values[source]
      }
    }
    return (sums, [rows, columns])
  }

  /// Row-major rows × inner by inner × columns.
  static func product(
    _ a: [Double], _ b: [Double], _ rows: Int, _ inner: Int, _ columns: Int
  ) -> [Double] {
    var sums = [Double](repeating: 0, count: rows * columns)
    sums.withUnsafeMutableBufferPointer { sums in
      b.withUnsafeBufferPointer { b in
        for row in 0..<rows {
          for k in 0..<inner {
            let factor = a[row * inner + k]
            for column in 0..<columns {
              sums[row * columns + column] += factor * b[k * columns + column]
            }
          }
        }
      }
    }
    return sums
  }

  /// numpy.matmul: leading axes broadcast, vectors gain an axis and lose it again.
  static func matrixProduct(
    _ call: Call, _ a: Tensor, _ b: Tensor
  ) throws(ModelError) -> Tensor {
    let left = a.shape.count == 1 ? [1] + a.shape : a.shape
    let right = b.shape.count == 1 ? b.shape + [1] : b.shape
    guard left.count >= 2, right.count >= 2, left[left.count - 1] == right[right.count - 2],
      let batch = Broadcasting.shape([Array(left.dropLast(2)), Array(right.dropLast(2))])
    else { throw call.error("matrices \(a.shape) and \(b.shape) do not fit together.") }
    let (rows, inner, columns) = (
      left[left.count - 2], left[left.count - 1], right[right.count - 1]
    )
    _ = try call.sized(batch + [rows, columns])
    let first = Broadcasting.sources(of: Array(left.dropLast(2)), in: batch)
    let second = Broadcasting.sources(of: Array(right.dropLast(2)), in: batch)
    let (x, y) = (a.reals(), b.reals())
    var values: [Double] = []
    for index in first.indices {
      let (m, n) = (first[index] * rows * inner, second[index] * inner * columns)
      values += product(
        Array(x[m..<m + rows * inner]), Array(y[n..<n + inner * columns]), rows, inner, columns)
    }
    var shape = batch
    if a.shape.count > 1 { shape.append(rows) }
    if b.shape.count > 1 { shape.append(columns) }
    return .from(reals: values, a.type, shape)
  }
}
