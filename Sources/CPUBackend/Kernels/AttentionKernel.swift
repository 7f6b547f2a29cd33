import Models

/// softmax(Q·Kᵀ·scale + mask)·V in one pass over keys and values, without a table of all scores.
///
/// For a block of queries it goes over the keys block by block, keeps the largest score so far and
/// the sums relative to it, and corrects both when a larger one comes (Milakov and Gimelshein,
/// "Online normalizer calculation for softmax", 2018; Dao and others, "FlashAttention", 2022).
///
/// Operands: queries, keys, values, a mask if there is one, output; FP32 in the plain layout.
struct AttentionKernel: Kernel {
  /// Heads of all samples.
  let heads: Int
  let queries: Int
  let keys: Int
  /// Elements of a query and of a key, and of a value.
  let depth: Int
  let valueDepth: Int
  let scale: Float
  /// Elements of the mask from one head, query and key to the next; nil for no mask.
  let mask: (heads: [Int], query: Int, key: Int)?

  /// Queries and keys of a block.
  private static let rows = 64
  private static let block = 64

  /// Turned keys, scores, sums and their sizes, for each thread's block; values in whole vectors.
  private var blockFloats: Int {
    depth * Self.block + Self.rows * (Self.block + valueWidth + 2)
  }
  private var valueWidth: Int { (valueDepth + 15) & ~15 }

  var scratch: Int { 0 }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    let floats = operands.map { $0.assumingMemoryBound(to: Float.self) }
    let blocks = (queries + Self.rows - 1) / Self.rows
    let work = heads * blocks
    OneDNN.parallel { thread, threads in
      withUnsafeTemporaryAllocation(
        byteCount: blockFloats * 4, alignment: 64
      ) { memory in
        guard let memory = memory.baseAddress?.assumingMemoryBound(to: Float.self) else { return }
        for index in work * thread / threads..<work * (thread + 1) / threads {
          let first = index % blocks * Self.rows
          runBlock(
            floats, head: index / blocks, rows: first..<min(first + Self.rows, queries), memory)
        }
      }
    }
  }

  private func runBlock(
    _ operands: [UnsafeMutablePointer<Float>], head: Int, rows: Range<Int>,
    _ memory: UnsafeMutablePointer<Float>
  ) {
    let turned = memory
    let scores = turned + depth * Self.block
    let sums = scores + Self.rows * Self.block
    let largest = sums + Self.rows * valueWidth
    let totals = largest + Self.rows
    sums.update(repeating: 0, count: Self.rows * valueWidth)
    largest.update(repeating: -.infinity, count: Self.rows)
    totals.update(repeating: 0, count: Self.rows)
    for first in stride(from: 0, to: keys, by: Self.block) {
      let count = min(Self.block, keys - first)
      turn(operands[1] + (head * keys + first) * depth, count, into: turned)
      for (place, row) in rows.enumerated() {
        let line = scores + place * Self.block
        score(operands[0] + (head * queries + row) * depth, turned, into: line)
        addMask(operands[3], head, row, first, count, to: line)
        join(
          line, count, operands[2] + (head * keys + first) * valueDepth,
          sums + place * valueWidth, largest + place, totals + place)
      }
    }
    let target = operands[operands.count - 1] + (head * queries + rows.lowerBound) * valueDepth
    for place in 0..<rows.count {
      for lane in 0..<valueDepth {
        target[place * valueDepth + lane] = sums[place * valueWidth + lane] / totals[place]
      }
    }
  }

  /// Keys with their elements in rows, so that a vector holds the same element of sixteen keys.
  private func turn(
    _ keys: UnsafePointer<Float>, _ count: Int, into turned: UnsafeMutablePointer<Float>
  ) {
    for lane in 0..<depth {
      let row = turned + lane * Self.block
      for key in 0..<count { row[key] = keys[key * depth + lane] }
      for key in count..<Self.block { row[key] = 0 }
    }
  }

  private func score(
    _ query: UnsafePointer<Float>, _ turned: UnsafePointer<Float>,
    into line: UnsafeMutablePointer<Float>
  ) {
    var (a, b) = (SIMD16<Float>.zero, SIMD16<Float>.zero)
    var (c, d) = (SIMD16<Float>.zero, SIMD16<Float>.zero)
    for lane in 0..<depth {
      let x = SIMD16<Float>(repeating: query[lane])
      let row = turned + lane * Self.block
      a.addProduct(VectorMath.load(row), x)
      b.addProduct(VectorMath.load(row + 16), x)
      c.addProduct(VectorMath.load(row + 32), x)
      d.addProduct(VectorMath.load(row + 48), x)
    }
    VectorMath.store(a * scale, line)
    VectorMath.store(b * scale, line + 16)
    VectorMath.store(c * scale, line + 32)
    VectorMath.store(d * scale, line + 48)
  }

  private func addMask(
    _ values: UnsafePointer<Float>, _ head: Int, _ query: Int, _ first: Int, _ count: Int,
    to line: UnsafeMutablePointer<Float>
  ) {
    guard let mask else { return }
    let start = values + mask.heads[head] + query * mask.query + first * mask.key
    guard mask.key == 1 else {
      for key in 0..<count { line[key] += start[key * mask.key] }
      return
    }
    let whole = count & ~15
    for key in stride(from: 0, to: whole, by: 16) {
      VectorMath.store(VectorMath.load(line + key) + VectorMath.load(start + key), line + key)
    }
    for key in whole..<count { line[key] += start[key] }
  }

  /// Takes a block of scores and values into the sums of one query.
  private func join(
    _ line: UnsafeMutablePointer<Float>, _ count: Int, _ values: UnsafePointer<Float>,
    _ sums: UnsafeMutablePointer<Float>, _ largest: UnsafeMutablePointer<Float>,
    _ total: UnsafeMutablePointer<Float>
  ) {
    for key in count..<Self.block { line[key] = -.infinity }
    var peaks = SIMD16<Float>(repeating: largest[0])
    for start in stride(from: 0, to: Self.block, by: 16) {
      let next = VectorMath.load(line + start)
      peaks.replace(with: next, where: next .> peaks)
    }
    let peak = peaks.max()
    // Nothing but masked keys so far: no sum to take them relative to.
    let base = peak == -.infinity ? 0 : peak
    let correction = VectorMath.exp(SIMD16(repeating: largest[0] - base))[0]
    largest[0] = peak
    var lanes = SIMD16<Float>.zero
    for start in stride(from: 0, to: Self.block, by: 16) {
      let power = VectorMath.exp(VectorMath.load(line + start) - base)
      VectorMath.store(power, line + start)
      lanes += power
    }
    total[0] = total[0] * correction + lanes.sum()
    addValues(line, count, values, sums, correction)
  }

  /// Multiplies the sums, and adds values as their weights tell: 32 elements stay in registers.
  private func addValues(
    _ weights: UnsafePointer<Float>, _ count: Int, _ values: UnsafePointer<Float>,
    _ sums: UnsafeMutablePointer<Float>, _ correction: Float
  ) {
    var lane = 0
    while lane + 32 <= valueDepth {
      var a = VectorMath.load(sums + lane) * correction
      var b = VectorMath.load(sums + lane + 16) * correction
      for key in 0..<count {
        let (weight, row) = (SIMD16(repeating: weights[key]), values + key * valueDepth + lane)
        a.addProduct(VectorMath.load(row), weight)
        b.addProduct(VectorMath.load(row + 16), weight)
      }
      VectorMath.store(a, sums + lane)
      VectorMath.store(b, sums + lane + 16)
      lane += 32
    }
    while lane + 16 <= valueDepth {
      var a = VectorMath.load(sums + lane) * correction
      for key in 0..<count {
        a.addProduct(
          VectorMath.load(values + key * valueDepth + lane), SIMD16(repeating: weights[key]))
      }
      VectorMath.store(a, sums + lane)
      lane += 16
    }
    while lane < valueDepth {
      var sum = sums[lane] * correction
      for key in 0..<count { sum += weights[key] * values[key * valueDepth + lane] }
      sums[lane] = sum
      lane += 1
    }
  }
}
