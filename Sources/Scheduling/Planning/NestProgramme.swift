/// The best segments, chunks and layer batches by dynamic programming over where segments end.
///
/// A segment that runs `samples / chunk` times reads its weights once when they fit beside the
/// activations, and otherwise again for every chunk, less what stays. It costs its computing time
/// plus a price times its link time: 1 is exact without prefetch; with it, the cheapest plan is
/// found for some price between 0 (the link hides behind computing) and 1 (nothing hides). What
/// does not depend on the price is worked out once for all of them.
struct NestProgramme {
  let chain: Chain
  /// Samples of the group.
  let samples: Int
  /// Chunk sizes to try.
  let chunks: [Int]
  /// The prices of a millisecond on the link to find segments for.
  let prices: [Double]
  /// Memory to plan with: less than there is leaves room for prefetch.
  let memory: Double

  /// A segment that ends at some layer.
  private struct Choice {
    var start = 0
    var chunk = 0
    /// Of everything up to the end of the segment.
    var cost = Double.infinity
  }

  /// The cheapest segments for each price; nil when nothing fits.
  func segments() -> [[LoopNest.Segment]?] {
    let count = chain.count
    // For each price the best way to each border.
    var best = Array(repeating: Choice(), count: prices.count * (count + 1))
    for price in prices.indices { best[price * (count + 1)].cost = 0 }
    let steps = chunks.map { chunk in (0..<count).map { wholeStep($0, chunk: chunk) } }
    for start in 0..<count where best[start].cost < .infinity {
      for (place, chunk) in chunks.enumerated() {
        var part = Part(self, start: start, chunk: chunk)
        for layer in start..<count {
          guard part.add(layer, steps[place][layer]) else { break }
          guard let link = part.link(endingBefore: layer + 1) else { continue }
          for (place, price) in prices.enumerated() {
            let row = place * (count + 1)
            // Fewer borders of segments, when they gain nothing.
            let cost = best[row + start].cost + (part.compute + price * link) + 1e-9
            if cost < best[row + layer + 1].cost {
              best[row + layer + 1] = Choice(start: start, chunk: chunk, cost: cost)
            }
          }
        }
      }
    }
    return prices.indices.map { price in
      let row = price * (count + 1)
      return segments(along: best[row...row + count])
    }
  }

  private func segments(along best: ArraySlice<Choice>) -> [LoopNest.Segment]? {
    guard let last = best.last, last.cost < .infinity else { return nil }
    var result: [LoopNest.Segment] = []
    var end = chain.count
    while end > 0 {
      let choice = best[best.startIndex + end]
      result.append(segment(choice.start..<end, chunk: choice.chunk))
      end = choice.start
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

  /// A layer that takes a chunk in one step: the usual case, worked out once for all segments.
  private struct Step {
    /// Milliseconds of all samples, chunk by chunk.
    var compute: Double
    /// What a chunk takes.
    var inside: Double
    /// Milliseconds of the page-in.
    var transfer: Double
  }

  private func wholeStep(_ layer: Int, chunk: Int) -> Step {
    Step(
      compute: compute(layer, chunk: chunk, batch: chunk),
      inside: inside(layer, chunk: chunk, batch: chunk),
      transfer: chain.transfer(chain.weights[layer]))
  }

  /// Milliseconds of all samples through a layer, chunk by chunk in steps of `batch` samples.
  private func compute(_ layer: Int, chunk: Int, batch: Int) -> Double {
    func time(_ count: Int) -> Double {
      let (calls, rest) = count.quotientAndRemainder(dividingBy: batch)
      let time = Double(calls) * chain.time(layer, batch)
      return rest > 0 ? time + chain.time(layer, rest) : time
    }
    let before = (samples + chunk - 1) / chunk - 1
    return Double(before) * time(chunk) + time(samples - before * chunk)
  }

  /// Layers from `start` on with one chunk, extended one layer at a time.
  private struct Part {
    private let programme: NestProgramme
    private let start: Int
    private let chunk: Int
    private let sweeps: Int
    /// What the samples hold that wait before the first layer.
    private let outside: Double
    private(set) var compute = 0.0
    private var weights = 0.0
    private var transfers = 0.0
    private var largest = 0.0
    /// The most that one chunk takes, and the most with the layer's own weights.
    private var footprint = 0.0
    private var footprintAndWeights = 0.0

    init(_ programme: NestProgramme, start: Int, chunk: Int) {
      (self.programme, self.start, self.chunk) = (programme, start, chunk)
      sweeps = (programme.samples + chunk - 1) / chunk
      outside = Double(programme.samples - chunk) * programme.chain.held[start]
    }

    /// Adds a layer; false when it does not fit whatever follows.
    mutating func add(_ layer: Int, _ whole: Step) -> Bool {
      let weight = programme.chain.weights[layer]
      var (milliseconds, inside) = (whole.compute, whole.inside)
      if inside > programme.memory - weight - outside + Chain.tolerance {
        let batch = programme.batch(layer, chunk: chunk, outside: outside)
        guard batch > 0 else { return false }
        milliseconds = programme.compute(layer, chunk: chunk, batch: batch)
        inside = programme.inside(layer, chunk: chunk, batch: batch)
      }
      compute += milliseconds
      weights += weight
      transfers += whole.transfer
      largest = max(largest, weight)
      footprint = max(footprint, inside)
      footprintAndWeights = max(footprintAndWeights, inside + weight)
      return true
    }

    /// Milliseconds of all page-ins; nil when the samples that have been through do not fit.
    func link(endingBefore end: Int) -> Double? {
      let outside = programme.outside(start..<end, chunk: chunk)
      guard footprintAndWeights + outside <= programme.memory + Chain.tolerance else { return nil }
      let frame = programme.memory - footprint - outside
      guard sweeps > 1, weights > frame + Chain.tolerance else { return transfers }
      let kept = max(frame - largest, 0)
      return transfers + Double(sweeps - 1) * transfers * (weights - min(kept, weights)) / weights
    }
  }
}
