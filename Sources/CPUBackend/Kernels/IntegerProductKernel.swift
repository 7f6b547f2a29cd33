import Models
import Vocabulary

/// Products of matrices of 8-bit integers with exact sums, one for each item of a batch.
struct IntegerProduct: Sendable {
  var rows: Int
  var inner: Int
  var columns: Int
  /// Items: matrices side by side, or groups and samples of a convolution.
  var batch: Int
  /// Elements from one row of the result to the next.
  var rowStride: Int
  /// Where the rows of the left factor are parts of an image.
  var patches: Patches?

  /// Groups of columns that items take in turn; more than one for convolutions only.
  var groups: Int { patches?.groups ?? 1 }
  /// Columns that have parameters of their own.
  var outputs: Int { groups * columns }
}

/// Computes sums with oneDNN, takes the zero points out of them, and makes of them what the
/// operator wants.
///
/// With zero points a and b, the sum of (x - a)·(w - b) over the inner axis is that of x·w, less a
/// times the sum of the column of w, less b times the sum of the row of x, plus a·b for each
/// element: all in integers, so that nothing is rounded.
///
/// Operands: left factor, right factor, parameters of columns, then if there are any the zero point
/// of the left factor and the scales that a request brings, then the result.
struct IntegerProductKernel: Kernel {
  /// What becomes of sums.
  enum Finish: Sendable {
    case sums
    case reals
    case steps(Quantizing.Target)
  }

  let problem: IntegerProduct
  let primitive: Primitive
  let descriptors: (left: MemoryDescriptor, right: MemoryDescriptor, sums: MemoryDescriptor)
  let isLeftSigned: Bool
  let zero: Int32
  let hasDynamicZero: Bool
  /// How many scales a request brings.
  let dynamicScales: Int
  /// Bytes from the right factor of an item to the next; 0 where it is the same.
  let rightAdvance: Int
  /// Whether a request brings the right factor, and it is UINT8, which has to be moved by 128.
  let isRightDynamic: Bool
  let movesRight: Bool
  /// Whether some column has a zero point.
  let hasRightZeros: Bool
  let finish: Finish
  /// What an activation cuts real results to.
  let range: (low: Float, high: Float)

  private var hasOwnSums: Bool { if case .sums = finish { true } else { false } }

  // MARK: Scratch

  private static func rounded(_ bytes: Int) -> Int { (bytes + 63) & ~63 }

  private var sumBytes: Int {
    hasOwnSums ? 0 : Self.rounded(problem.rows * problem.rowStride * 4)
  }
  private var patchBytes: Int {
    guard let patches = problem.patches, !patches.areThere else { return 0 }
    return Self.rounded(patches.rows * patches.size)
  }
  private var rightBytes: Int { movesRight ? Self.rounded(problem.inner * problem.columns) : 0 }
  private var columnBytes: Int { Self.rounded(problem.outputs * 4) }

  var scratch: Int {
    Self.rounded(primitive.scratch) + sumBytes + patchBytes + rightBytes + 3 * columnBytes
  }

  // MARK: Running

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    var free = scratchpad + Self.rounded(primitive.scratch)
    func take(_ bytes: Int) -> UnsafeMutableRawPointer {
      defer { free += bytes }
      return free
    }
    let (sums, patches, moved) = (take(sumBytes), take(patchBytes), take(rightBytes))
    let offsets = take(columnBytes).assumingMemoryBound(to: Int32.self)
    let columnSums = take(columnBytes).assumingMemoryBound(to: Int32.self)
    var columns = ColumnParameters(operands[2], count: problem.outputs)
    let left = hasDynamicZero ? readZero(operands[3]) : zero
    if dynamicScales > 0 {
      let scales = operands[hasDynamicZero ? 4 : 3].assumingMemoryBound(to: Float.self)
      let factors = take(columnBytes).assumingMemoryBound(to: Float.self)
      for column in 0..<problem.outputs {
        factors[column] = scales[dynamicScales == 1 ? 0 : column]
      }
      columns.factors = UnsafePointer(factors)
    }
    if !isRightDynamic { setOffsets(offsets, columns.sums, columns.zeros, left) }
    let result = operands[operands.count - 1]
    for item in 0..<problem.batch {
      let (outer, group) = item.quotientAndRemainder(dividingBy: problem.groups)
      let a = leftFactor(operands[0], outer, group, left, patches)
      var b = operands[1] + (problem.groups > 1 ? group : item) * rightAdvance
      if isRightDynamic {
        if movesRight { b = move(b, moved) }
        sumColumns(b, columnSums)
        setOffsets(offsets, columnSums, columns.zeros, left)
      }
      let place = outer * problem.rows * problem.rowStride + group * problem.columns
      let ints = hasOwnSums ? result + place * 4 : sums + group * problem.columns * 4
      try primitive.run(
        [
          (DNNL.source, descriptors.left, a), (DNNL.weights, descriptors.right, b),
          (DNNL.destination, descriptors.sums, ints),
        ], scratchpad: scratchpad)
      let first = group * problem.columns
      finish(
        Item(
          sums: ints.assumingMemoryBound(to: Int32.self), result: result, place: place,
          left: UnsafePointer(a.assumingMemoryBound(to: UInt8.self)), leftZero: left,
          offsets: UnsafePointer(offsets + first), columns: columns.dropping(first)))
    }
  }

  private func readZero(_ place: UnsafeMutableRawPointer) -> Int32 {
    isLeftSigned ? Int32(place.load(as: Int8.self)) : Int32(place.load(as: UInt8.self))
  }

  private func leftFactor(
    _ x: UnsafeMutableRawPointer, _ outer: Int, _ group: Int, _ zero: Int32,
    _ scratch: UnsafeMutableRawPointer
  ) -> UnsafeMutableRawPointer {
    guard let patches = problem.patches else { return x + outer * problem.rows * problem.inner }
    let image = x + outer * patches.sampleSize
    if patches.areThere { return image }
    patches.gather(
      image.assumingMemoryBound(to: UInt8.self), group: group,
      zero: UInt8(truncatingIfNeeded: zero), scratch.assumingMemoryBound(to: UInt8.self))
    return scratch
  }

  /// What is added to the sums of each column whatever the row.
  private func setOffsets(
    _ offsets: UnsafeMutablePointer<Int32>, _ sums: UnsafePointer<Int32>,
    _ zeros: UnsafePointer<Int32>, _ left: Int32
  ) {
    for column in 0..<problem.outputs {
      offsets[column] = left &* (Int32(problem.inner) &* zeros[column] &- sums[column])
    }
  }

  private func move(
    _ from: UnsafeMutableRawPointer, _ to: UnsafeMutableRawPointer
  ) -> UnsafeMutableRawPointer {
    let source = from.assumingMemoryBound(to: UInt8.self)
    let target = to.assumingMemoryBound(to: UInt8.self)
    for index in 0..<problem.inner * problem.columns { target[index] = source[index] ^ 0x80 }
    return to
  }

  private func sumColumns(
    _ right: UnsafeMutableRawPointer, _ sums: UnsafeMutablePointer<Int32>
  ) {
    let elements = right.assumingMemoryBound(to: Int8.self)
    for column in 0..<problem.columns { sums[column] = 0 }
    for row in 0..<problem.inner {
      let line = elements + row * problem.columns
      for column in 0..<problem.columns { sums[column] &+= Int32(line[column]) }
    }
  }

  // MARK: Finishing

  /// One item whose sums are there.
  private struct Item {
    var sums: UnsafeMutablePointer<Int32>
    var result: UnsafeMutableRawPointer
    /// The first element of the result that belongs to it.
    var place: Int
    var left: UnsafePointer<UInt8>
    var leftZero: Int32
    var offsets: UnsafePointer<Int32>
    var columns: ColumnParameters
  }

  private func finish(_ item: Item) {
    if hasOwnSums, !hasRightZeros, item.leftZero == 0 { return }
    let grain = max(1, Quantizing.grain / max(problem.columns, 1))
    Quantizing.share(problem.rows, grain: grain) { range in
      for row in range {
        finish(item, row, hasRightZeros ? sumRow(item.left + row * problem.inner) : 0)
      }
    }
  }

  private func sumRow(_ row: UnsafePointer<UInt8>) -> Int32 {
    let source = Quantizing.Source(zero: 0, isSigned: isLeftSigned)
    var sum: Int32 = 0
    for index in 0..<problem.inner { sum &+= source.centred(row[index]) }
    return sum
  }

  private func finish(_ item: Item, _ row: Int, _ rowSum: Int32) {
    let sums = item.sums + row * problem.rowStride
    let (offsets, zeros, count) = (item.offsets, item.columns.zeros, problem.columns)
    let (factors, shifts, range) = (item.columns.factors, item.columns.shifts, range)
    let place = item.place + row * problem.rowStride
    switch finish {
    case .sums:
      for column in 0..<count {
        sums[column] = sums[column] &+ offsets[column] &- zeros[column] &* rowSum
      }
    case .reals:
      let target = item.result.assumingMemoryBound(to: Float.self) + place
      for column in 0..<count {
        let sum = sums[column] &+ offsets[column] &- zeros[column] &* rowSum
        let value = Float(sum) * factors[column] + shifts[column]
        target[column] = min(max(value, range.low), range.high)
      }
    case .steps(let bounds):
      let target = item.result.assumingMemoryBound(to: UInt8.self) + place
      for column in 0..<count {
        let sum = sums[column] &+ offsets[column] &- zeros[column] &* rowSum
        let value = Float(sum) * factors[column] + shifts[column]
        target[column] = bounds.bits(value)
      }
    }
  }
}

extension IntegerProductKernel: @unchecked Sendable {}

/// For each column: the sum and the zero point of its weights, what sums are multiplied by, and
/// what is added then.
struct ColumnParameters {
  var sums: UnsafePointer<Int32>
  var zeros: UnsafePointer<Int32>
  var factors: UnsafePointer<Float>
  var shifts: UnsafePointer<Float>

  static func byteCount(_ count: Int) -> Int { 16 * count }

  init(_ place: UnsafeMutableRawPointer, count: Int) {
    sums = UnsafePointer(place.assumingMemoryBound(to: Int32.self))
    zeros = sums + count
    factors = UnsafePointer((place + 8 * count).assumingMemoryBound(to: Float.self))
    shifts = factors + count
  }

  /// Those of the columns from one on.
  func dropping(_ count: Int) -> ColumnParameters {
    var rest = self
    rest.sums += count
    rest.zeros += count
    rest.factors += count
    rest.shifts += count
    return rest
  }
}
