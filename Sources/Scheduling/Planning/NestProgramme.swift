/// The best segments, chunks and layer batches by dynamic programming over where segments end.
///
/// A segment that runs `samples / chunk` times reads its weights once when they fit beside the
/// activations, and otherwise again for every chunk, less what stays. Its price is its computing
/// time plus `weight` times its link time: 1 is exact without prefetch; with it, the cheapest plan
/// is found for some price between 0 (the link hides behind computing) and 1 (nothing hides).
struct NestProgramme {
  let chain: Chain
  /// Samples of the group.
  let samples: Int
  /// Chunk sizes to try.
  let chunks: [Int]
  /// The price of a millisecond on the link.
  let price: Double
  /// Memory to plan with: less than there is leaves room for prefetch.
  let memory: Double

  /// The cheapest segments, or nil when nothing fits.
  func segments() -> [LoopNest.Segment]? {
    let count = chain.count
    var best = Array(repeating: Double.infinity, count: count + 1)
    var from = Array(repeating: (start: 0, chunk: 0), count: count + 1)
    best[0] = 0
    for start in 0..<count where best[start] < .infinity {
      for chunk in chunks {
        var part = Part(self, start: start, chunk: chunk)
        for layer in start..<count {
          guard part.add(layer) else { break }
          guard let cost = part.cost(endingBefore: layer + 1) else { continue }
          // Fewer borders of segments, when they gain nothing.
          let total = best[start] + cost + 1e-9
          if total < best[layer + 1] {
            best[layer + 1] = total
            from[layer + 1] = (start, chunk)
          }
        }
      }
    }
    guard best[count] < .infinity else { return nil }
    var result: [LoopNest.Segment] = []
    var end = count
    while end > 0 {
      let (start, chunk) = from[end]
      result.append(segment(start..<end, chunk: chunk))
      end = start
    }
    return result.reversed()
  }

  /// A segment with the largest layer batches that fit.
  func segment(_ layers: Range<Int>, chunk: Int) -> LoopNest.Segment {
    let outside = outside(layers, chunk: chunk)
    let batches = layers.map { layer in
      max(batch(layer, chunk: chunk, outside: outside), 1)
    }
    return LoopNest.Segment(layers: layers, chunk: chunk, batches: batches)
  }

  /// What the samples hold that are not in the chunk under way.
  private func outside(_ layers: Range<Int>, chunk: Int) -> Double {
    Double(samples - chunk) * max(chain.held[layers.lowerBound], chain.held[layers.upperBound])
  }

  /// What a chunk takes while a layer works on it in steps of `batch` samples.
  private func inside(_ layer: Int, chunk: Int, batch: Int) -> Double {
    let before = chain.held[layer] * Double(chunk)
    let after =
      chain.held[layer] * Double(batch) + chain.held[layer + 1] * Double(chunk - batch)
    return max(before, after) + chain.added[layer] * Double(batch) + chain.scratch[layer]
  }

  /// The most samples of a step that fit, halving from the chunk; 0 when not even one does.
  private func batch(_ layer: Int, chunk: Int, outside: Double) -> Int {
    let room = memory - chain.weights[layer] - outside + Chain.tolerance
    var batch = chunk
    while batch > 0, inside(layer, chunk: chunk, batch: batch) > room { batch /= 2 }
    return batch
  }

  /// Layers from `start` on with one chunk, extended one layer at a time.
  private struct Part {
    private let programme: NestProgramme
    private let start: Int
    private let chunk: Int
    private let sweeps: Int
    private var compute = 0.0
    private var weights = 0.0
    private var transfers = 0.0
    private var largest = 0.0
    /// The most that one chunk takes, and the most with the layer's own weights.
    private var footprint = 0.0
    private var footprintAndWeights = 0.0

    init(_ programme: NestProgramme, start: Int, chunk: Int) {
      (self.programme, self.start, self.chunk) = (programme, start, chunk)
      sweeps = (programme.samples + chunk - 1) / chunk
    }

    /// Adds a layer; false when it does not fit whatever follows.
    mutating func add(_ layer: Int) -> Bool {
      let chain = programme.chain
      let outside = Double(programme.samples - chunk) * chain.held[start]
      let batch = programme.batch(layer, chunk: chunk, outside: outside)
      guard batch > 0 else { return false }
      compute += Double(sweeps - 1) * time(layer, chunk, batch)
      compute += time(layer, programme.samples - (sweeps - 1) * chunk, batch)
      let weight = chain.weights[layer]
      weights += weight
      transfers += chain.transfer(weight)
      largest = max(largest, weight)
      let inside = programme.inside(layer, chunk: chunk, batch: batch)
      footprint = max(footprint, inside)
      footprintAndWeights = max(footprintAndWeights, inside + weight)
      return true
    }

    private func time(_ layer: Int, _ count: Int, _ batch: Int) -> Double {
      let (calls, rest) = count.quotientAndRemainder(dividingBy: batch)
      let time = Double(calls) * programme.chain.time(layer, batch)
      return rest > 0 ? time + programme.chain.time(layer, rest) : time
    }

    func cost(endingBefore end: Int) -> Double? {
      let outside = programme.outside(start..<end, chunk: chunk)
      guard footprintAndWeights + outside <= programme.memory + Chain.tolerance else { return nil }
      let frame = programme.memory - footprint - outside
      let kept = weights <= frame + Chain.tolerance ? weights : max(frame - largest, 0)
      let again = weights > 0 ? transfers * (weights - min(kept, weights)) / weights : 0
      return compute + programme.price * (transfers + Double(sweeps - 1) * again)
    }
  }
}
