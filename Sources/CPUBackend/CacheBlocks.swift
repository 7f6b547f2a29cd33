import Glibc
import Vocabulary

/// Layers of a run that some of its samples go through before the next ones begin.
struct CacheBlock: Equatable, Sendable {
  var layers: Range<Int>
  /// The most samples at a time.
  var samples: Int
}

/// What a layer moves between the processor's second cache and memory.
struct CacheTraffic: Sendable {
  /// Bytes of weights, which each run of the layer reads anew.
  var weights: Int
  /// Bytes of a sample that the layer reads and writes.
  var touched: Int
  /// Bytes of a sample that live on after the layer.
  var border: Int
  /// Kernels of the layer.
  var kernels: Int
}

/// Cuts a run into blocks so that what passes from layer to layer stays in the second cache.
///
/// Fewer samples at a time keep large values of first layers there; more of them share one reading
/// of the large weights of last layers (blocking for caches: Lam, Rothberg and Wolf, 1991). The
/// blocks whose bytes to and from memory are fewest are found by dynamic programming over layers
/// and powers of two.
struct CacheBlocking {
  /// Bytes of the second caches of all units.
  let cache: Int
  /// What a kernel costs that has no samples worth mentioning, as bytes that could be moved
  /// meanwhile: more units move more of them, and wait for each other longer.
  let bytesPerKernel: Int

  /// Cuts for so many units, whose caches have a given size each.
  init(units: Int, cache: Int = Self.secondCache) {
    self.cache = units * cache
    bytesPerKernel = units * units * 96 << 10
  }

  /// Bytes of the second cache of a core; a common size where the system does not say.
  static let secondCache: Int = {
    let size = sysconf(Int32(_SC_LEVEL2_CACHE_SIZE))
    return size > 0 ? size : 1 << 20
  }()

  /// The blocks of a run.
  ///
  /// - Parameters:
  ///   - layers: What the layers of the run move, in order.
  ///   - first: The index of the first of them.
  ///   - least: The fewest samples of a block, where the run has as many.
  func blocks(
    _ layers: [CacheTraffic], first: Int, samples: Int, least: Int = 1
  ) -> [CacheBlock] {
    let sizes = Self.sizes(samples, least: least)
    guard sizes.count > 1, layers.count > 1 else {
      return [CacheBlock(layers: first..<first + layers.count, samples: samples)]
    }
    var costs = sizes.map { work(layers[0], $0, of: samples) }
    var choices: [[Int]] = []
    for (before, layer) in zip(layers, layers.dropFirst()) {
      let apart = Double(samples) * spilled(before.border, samples * before.border)
      var (next, chosen) = ([Double](), [Int]())
      for (index, size) in sizes.enumerated() {
        let widest = size * max(before.touched, layer.touched)
        let together = costs[index] + Double(samples) * spilled(before.border, widest)
        let others = costs.indices.filter { $0 != index }
        let other = others.min { costs[$0] < costs[$1] } ?? index
        let changes = costs[other] + apart < together
        next.append((changes ? costs[other] + apart : together) + work(layer, size, of: samples))
        chosen.append(changes ? other : index)
      }
      costs = next
      choices.append(chosen)
    }
    var size = costs.indices.min { costs[$0] < costs[$1] } ?? 0
    // One size after the other, from the last layer back.
    var picks = [size]
    for chosen in choices.reversed() {
      size = chosen[size]
      picks.append(size)
    }
    var blocks: [CacheBlock] = []
    for (offset, pick) in picks.reversed().enumerated() {
      let layer = first + offset
      if let last = blocks.indices.last, blocks[last].samples == sizes[pick] {
        blocks[last].layers = blocks[last].layers.lowerBound..<layer + 1
      } else {
        blocks.append(CacheBlock(layers: layer..<layer + 1, samples: sizes[pick]))
      }
    }
    return blocks
  }

  /// All samples, and the powers of two below that are as many as asked for; largest first.
  private static func sizes(_ samples: Int, least: Int) -> [Int] {
    let powers = sequence(first: 1) { $0 * 2 }.prefix { $0 < samples }
    return [samples] + powers.filter { $0 >= least }.reversed()
  }

  /// Bytes that a layer moves whatever comes before and after it.
  private func work(_ layer: CacheTraffic, _ size: Int, of samples: Int) -> Double {
    let runs = (samples + size - 1) / size
    return Double(runs) * Double(layer.weights + layer.kernels * bytesPerKernel)
  }

  /// Bytes written and read again of a sample's value when so many bytes are in use meanwhile.
  private func spilled(_ bytes: Int, _ used: Int) -> Double {
    // Weights and scratch take part of the cache too.
    let room = Double(cache) * 2 / 3
    let beyond = max(Double(used) - room, 0) / Double(max(used, 1))
    return 2 * Double(bytes) * beyond
  }
}
