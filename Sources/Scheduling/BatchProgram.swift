import Vocabulary

/// How a number of samples goes through a network: segments, chunks and layer batches.
struct BatchProgram: Sendable {
  /// Consecutive layers run depth first with one chunk size.
  struct Segment: Sendable {
    var layers: Range<Int>
    /// Samples that go through all the layers before the next ones start.
    var chunk: Int
    /// Bytes of activations and scratch of all samples while the segment runs.
    var activations: Int
    /// The largest layer of this segment or a later one, with the activations of its segment.
    var need: Int
    /// Seconds from the start of the segment to the end of the network, without stalls.
    var remaining: Double
  }

  var samples: Int
  var segments: [Segment]
  /// Samples of one kernel call, by layer.
  var layerBatches: [Int]
  /// Seconds of one chunk of the layer's segment through the layer with all units, by layer.
  var layerSeconds: [Double]
  /// Bytes that have to come in when nothing is resident, re-reads included.
  var pageIns: Int

  /// Seconds of computing with all units.
  var seconds: Double { segments.first?.remaining ?? 0 }
  /// The least memory it gets through with.
  var need: Int { segments.reduce(0) { max($0, $1.need) } }

  /// The segment that begins at a layer, or that runs all samples layer by layer around it.
  func segment(joinableAt layer: Int) -> Int? {
    segments.firstIndex {
      $0.layers.lowerBound == layer || ($0.layers.contains(layer) && $0.chunk >= samples)
    }
  }
}

/// Makes programs by dynamic programming over segments; see Documentation/Scheduling.md.
///
/// The time of a segment is the longer of its computing and its page-ins; weights that do not stay
/// beside the activations come in again for every chunk.
struct ProgramBuilder {
  let layers: [LayerProfile]
  let input: Int
  let costs: CostModel
  let link: LinkModel
  let units: Int
  /// Bytes of memory; nil when weights stay resident unasked.
  let memory: Int?
  /// False: one chunk for the whole network.
  let perLayer: Bool

  /// What a border between segments has to gain, as a share of the network's time: it ends runs and
  /// copies what waits there, and measured times are no surer than that.
  private static let leastGain = 0.005

  /// What a second of the link costs, in seconds, although computing hides it: the page-ins of
  /// others wait behind it.
  ///
  /// Without it a plan read weights once more for every chunk wherever that took no longer.
  private static let priceOfLink = 0.1

  /// The best way through, or nil when no way fits into memory.
  func program(samples: Int) -> BatchProgram? {
    guard memory != nil else { return finish([(0..<layers.count, samples)], samples) }
    if !perLayer {
      let whole = [(0..<layers.count, samples)]
      return fits(whole[0].0, chunk: samples, samples) ? finish(whole, samples) : nil
    }
    return bestSegments(samples).flatMap { finish($0, samples) }
  }

  private func bestSegments(_ samples: Int) -> [(Range<Int>, Int)]? {
    let chunks = Self.ladder(samples)
    let count = layers.count
    // Each entry is looked at once for every layer that a segment could begin at.
    let times = chunks.map { chunk in
      (0..<count).map { seconds(layer: $0, chunk: chunk, samples) }
    }
    // Without it a plan falls into pieces wherever noise made one chunk look faster than another.
    let border = times[0].reduce(0, +) * Self.leastGain
    var best = Array(repeating: Double.infinity, count: count + 1)
    var from = Array(repeating: (0, 0), count: count + 1)
    best[0] = 0
    for start in 0..<count where best[start] < .infinity {
      for (place, chunk) in chunks.enumerated() {
        var part = Part(self, start: start, chunk: chunk, samples: samples)
        for layer in start..<count {
          part.add(layer, seconds: times[place][layer])
          guard part.canFit else { break }
          guard let seconds = part.seconds(endingAt: layer) else { continue }
          let total = best[start] + seconds + border
          if total < best[layer + 1] {
            (best[layer + 1], from[layer + 1]) = (total, (start, chunk))
          }
        }
      }
    }
    guard best[count] < .infinity else { return nil }
    var segments: [(Range<Int>, Int)] = []
    var end = count
    while end > 0 {
      segments.append((from[end].0..<end, from[end].1))
      end = from[end].0
    }
    return segments.reversed()
  }

  /// Powers of two below a number, and the number.
  static func ladder(_ samples: Int) -> [Int] {
    var chunks = [samples]
    var power = 1
    while power < samples {
      chunks.append(power)
      power *= 2
    }
    return chunks
  }

  private func activations(before layer: Int) -> Int {
    layer == 0 ? input : layers[layer - 1].activations.bytes
  }

  /// Bytes of one sample in a layer: what goes in, what comes out, and scratch.
  private func each(_ layer: Int) -> Int {
    activations(before: layer) + layers[layer].activations.bytes + layers[layer].scratch.bytes
  }

  /// Seconds of all samples through a layer, chunk by chunk.
  private func seconds(layer: Int, chunk: Int, _ samples: Int) -> Double {
    let (whole, rest) = samples.quotientAndRemainder(dividingBy: chunk)
    let compute = Double(whole) * costs.seconds(layer: layer, batch: chunk, units: units)
    return rest > 0
      ? compute + costs.seconds(layer: layer, batch: rest, units: units) : compute
  }

  private func fits(_ range: Range<Int>, chunk: Int, _ samples: Int) -> Bool {
    var part = Part(self, start: range.lowerBound, chunk: chunk, samples: samples)
    for layer in range { part.add(layer) }
    return part.seconds(endingAt: range.upperBound - 1) != nil
  }

  /// Layers from `start` on with one chunk, extended one layer at a time.
  private struct Part {
    let builder: ProgramBuilder
    let start: Int
    let chunk: Int
    let samples: Int
    var compute = 0.0
    var weights = 0
    var largest = 0
    /// The most bytes of one chunk inside the part.
    var inside = 0

    init(_ builder: ProgramBuilder, start: Int, chunk: Int, samples: Int) {
      (self.builder, self.start, self.chunk, self.samples) = (builder, start, chunk, samples)
    }

    mutating func add(_ layer: Int) {
      add(layer, seconds: builder.seconds(layer: layer, chunk: chunk, samples))
    }

    mutating func add(_ layer: Int, seconds: Double) {
      let weights = builder.layers[layer].weights.bytes
      compute += seconds
      self.weights += weights
      largest = max(largest, weights)
      inside = max(inside, builder.each(layer) * chunk)
    }

    /// Whether it might fit with some layer as its last one: what it needs only grows.
    var canFit: Bool {
      guard let memory = builder.memory else { return true }
      return (samples - chunk) * builder.activations(before: start) + inside + largest <= memory
    }

    /// Bytes of activations and scratch of all samples, waiting ones included.
    func activations(endingAt layer: Int) -> Int {
      outside(endingAt: layer) + inside
    }

    /// Bytes of the samples that are not in the chunk under way: they wait at one of the ends.
    func outside(endingAt layer: Int) -> Int {
      (samples - chunk)
        * max(builder.activations(before: start), builder.layers[layer].activations.bytes)
    }

    func pageIns(endingAt layer: Int) -> Int? {
      guard let memory = builder.memory else { return 0 }
      let frame = memory - activations(endingAt: layer)
      guard frame >= largest else { return nil }
      let sweeps = (samples + chunk - 1) / chunk
      let kept = weights <= frame ? weights : max(frame - largest, 0)
      return weights + (sweeps - 1) * (weights - kept)
    }

    func seconds(endingAt layer: Int) -> Double? {
      pageIns(endingAt: layer).map { bytes in
        let transfer = builder.link.seconds(bytes: bytes)
        return max(compute, transfer) + transfer * ProgramBuilder.priceOfLink
      }
    }
  }

  private func finish(_ parts: [(Range<Int>, Int)], _ samples: Int) -> BatchProgram {
    var program = BatchProgram(
      samples: samples, segments: [], layerBatches: [], layerSeconds: [], pageIns: 0)
    for (range, chunk) in parts {
      var part = Part(self, start: range.lowerBound, chunk: chunk, samples: samples)
      for layer in range {
        part.add(layer)
        program.layerBatches.append(chunk)
        program.layerSeconds.append(costs.seconds(layer: layer, batch: chunk, units: units))
      }
      let last = range.upperBound - 1
      program.pageIns += part.pageIns(endingAt: last) ?? 0
      let activations = part.activations(endingAt: last)
      program.segments.append(
        BatchProgram.Segment(
          layers: range, chunk: chunk, activations: activations,
          need: activations + part.largest, remaining: part.compute))
    }
    for index in program.segments.indices.dropLast().reversed() {
      let next = program.segments[index + 1]
      program.segments[index].remaining += next.remaining
      program.segments[index].need = max(program.segments[index].need, next.need)
    }
    return program
  }
}
