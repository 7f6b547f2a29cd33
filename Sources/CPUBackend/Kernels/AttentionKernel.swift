import CKernels
import Models

/// The sizes of softmax(Q·Kᵀ·scale + mask)·V, for some heads.
struct AttentionShape {
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
}

/// softmax(Q·Kᵀ·scale + mask)·V in one pass over keys and values, without a table of all scores.
///
/// For a block of queries it goes over the keys block by block, keeps the largest score so far and
/// the sums relative to it, and corrects both when a larger one comes (Milakov and Gimelshein,
/// "Online normalizer calculation for softmax", 2018; Dao and others, "FlashAttention", 2022).
/// Scores lie key by key and sums element by element, with the queries side by side: so both
/// products are those of `kernels_product`, and all else is for sixteen queries at once.
///
/// Operands: queries, keys, values, a mask if there is one, output; FP32 in the plain layout.
struct AttentionKernel: Kernel {
  let shape: AttentionShape

  private var queries: Int { shape.queries }
  private var keys: Int { shape.keys }
  private var depth: Int { shape.depth }
  private var valueDepth: Int { shape.valueDepth }

  /// Queries and keys of a block.
  private static let rows = 128
  private static let block = 64
  private static let tile = Int(kernels_tile())
  private static let strip = Int(kernels_strip_width(Processor.hasWideVectors))

  /// Queries of a block in whole vectors.
  private var width: Int { min(Self.rows, (queries + 15) & ~15) }

  /// A thread's memory: where the parts begin, in floats.
  private struct Memory {
    let turned, scores, sums, largest, totals, zeros, packed, panel: UnsafeMutablePointer<Float>
  }

  private var counts: [Int] {
    let longest = max(depth, Self.block)
    let tiles = { (count: Int) in (count + Self.tile - 1) / Self.tile * Self.tile }
    return [
      depth * width, Self.block * width, valueDepth * width, width, width,
      max(valueDepth, Self.block), max(tiles(Self.block) * depth, tiles(valueDepth) * Self.block),
      longest * Self.strip,
    ].map { ($0 + 15) & ~15 }
  }

  var scratch: Int { 0 }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    let floats = operands.map { $0.assumingMemoryBound(to: Float.self) }
    let blocks = (queries + Self.rows - 1) / Self.rows
    let (work, counts) = (shape.heads * blocks, counts)
    OneDNN.parallel { thread, threads in
      withUnsafeTemporaryAllocation(
        byteCount: counts.reduce(0, +) * 4, alignment: 64
      ) { memory in
        guard let start = memory.baseAddress?.assumingMemoryBound(to: Float.self) else { return }
        let places = counts.indices.map { start + counts[..<$0].reduce(0, +) }
        let memory = Memory(
          turned: places[0], scores: places[1], sums: places[2], largest: places[3],
          totals: places[4], zeros: places[5], packed: places[6], panel: places[7])
        memory.zeros.update(repeating: 0, count: counts[5])
        for index in work * thread / threads..<work * (thread + 1) / threads {
          let first = index % blocks * Self.rows
          runBlock(
            floats, head: index / blocks, rows: first..<min(first + Self.rows, queries), memory)
        }
      }
    }
  }

  private func runBlock(
    _ operands: [UnsafeMutablePointer<Float>], head: Int, rows: Range<Int>, _ memory: Memory
  ) {
    memory.sums.update(repeating: 0, count: valueDepth * width)
    memory.largest.update(repeating: -.infinity, count: width)
    memory.totals.update(repeating: 0, count: width)
    turn(operands[0] + (head * queries + rows.lowerBound) * depth, rows.count, memory.turned)
    for first in stride(from: 0, to: keys, by: Self.block) {
      let count = min(Self.block, keys - first)
      pack(operands[1] + (head * keys + first) * depth, rows: count, columns: depth, memory.packed)
      multiply(memory.turned, inputs: depth, outputs: count, memory.scores, nil, memory)
      addMask(operands[3], head, rows, first, count, to: memory.scores)
      join(count, memory)
      packTurned(operands[2] + (head * keys + first) * valueDepth, count, memory.packed)
      multiply(memory.scores, inputs: count, outputs: valueDepth, memory.sums, memory.sums, memory)
    }
    let target = operands[operands.count - 1] + (head * queries + rows.lowerBound) * valueDepth
    for place in 0..<rows.count {
      let total = memory.totals[place]
      for lane in 0..<valueDepth {
        target[place * valueDepth + lane] = memory.sums[lane * width + place] / total
      }
    }
  }

  /// Queries, scaled, with their elements in rows, so that a vector holds the same element of
  /// sixteen queries; zeros beyond the last.
  private func turn(
    _ queries: UnsafePointer<Float>, _ count: Int, _ turned: UnsafeMutablePointer<Float>
  ) {
    for lane in 0..<depth {
      let row = turned + lane * width
      for query in 0..<count { row[query] = queries[query * depth + lane] * shape.scale }
      for query in count..<width { row[query] = 0 }
    }
  }

  /// Rows as a product's weights: those of a tile side by side.
  private func pack(
    _ source: UnsafePointer<Float>, rows: Int, columns: Int, _ packed: UnsafeMutablePointer<Float>
  ) {
    for row in 0..<(rows + Self.tile - 1) / Self.tile * Self.tile {
      let target = packed + row / Self.tile * columns * Self.tile + row % Self.tile
      for column in 0..<columns {
        target[column * Self.tile] = row < rows ? source[row * columns + column] : 0
      }
    }
  }

  /// Values as a product's weights, whose outputs are their elements.
  private func packTurned(
    _ values: UnsafePointer<Float>, _ count: Int, _ packed: UnsafeMutablePointer<Float>
  ) {
    for first in stride(from: 0, to: valueDepth, by: Self.tile) {
      let (tile, lanes) = (packed + first * count, min(Self.tile, valueDepth - first))
      for key in 0..<count {
        for lane in 0..<Self.tile {
          tile[key * Self.tile + lane] = lane < lanes ? values[key * valueDepth + first + lane] : 0
        }
      }
    }
  }

  /// target = packed weights × source, plus what is there already if that is the residual.
  private func multiply(
    _ source: UnsafePointer<Float>, inputs: Int, outputs: Int,
    _ target: UnsafeMutablePointer<Float>, _ residual: UnsafePointer<Float>?, _ memory: Memory
  ) {
    var product = kernels_product(
      source: source, weights: memory.packed, bias: memory.zeros, residual: residual,
      target: target, inputs: Int64(inputs), outputs: Int64(outputs), plane: Int64(width),
      source_is_half: 0, target_is_half: 0, clamps: 0)
    for pixel in stride(from: 0, to: width, by: Self.strip) {
      kernels_product_strip(&product, Int64(pixel), memory.panel, Processor.hasWideVectors)
    }
  }

  private func addMask(
    _ values: UnsafePointer<Float>, _ head: Int, _ rows: Range<Int>, _ first: Int, _ count: Int,
    to scores: UnsafeMutablePointer<Float>
  ) {
    guard let mask = shape.mask else { return }
    let start = values + mask.heads[head] + rows.lowerBound * mask.query + first * mask.key
    for key in 0..<count {
      let (line, column) = (scores + key * width, start + key * mask.key)
      if mask.query == 0 {
        let value = column[0]
        for query in 0..<rows.count { line[query] += value }
      } else {
        for query in 0..<rows.count { line[query] += column[query * mask.query] }
      }
    }
  }

  /// Makes powers of a block of scores, and corrects what was summed relative to a smaller one.
  private func join(_ count: Int, _ memory: Memory) {
    for start in stride(from: 0, to: width, by: 16) {
      let before = VectorMath.load(memory.largest + start)
      var peak = before
      for key in 0..<count {
        let next = VectorMath.load(memory.scores + key * width + start)
        peak.replace(with: next, where: next .> peak)
      }
      // Nothing but masked keys so far: no sum to take them relative to.
      let base = peak.replacing(with: 0, where: peak .== -.infinity)
      let correction = VectorMath.exp(before - base)
      VectorMath.store(peak, memory.largest + start)
      var total = VectorMath.load(memory.totals + start) * correction
      for key in 0..<count {
        let place = memory.scores + key * width + start
        let power = VectorMath.exp(VectorMath.load(place) - base)
        VectorMath.store(power, place)
        total += power
      }
      VectorMath.store(total, memory.totals + start)
      guard correction != SIMD16(repeating: 1) else { continue }
      for lane in 0..<valueDepth {
        let place = memory.sums + lane * width + start
        VectorMath.store(VectorMath.load(place) * correction, place)
      }
    }
  }
}
