import Vocabulary

/// Makes programs by dynamic programming over segments; see Documentation/Scheduling.md.
///
/// The time of a segment is the longer of its computing and its page-ins; weights that do not stay
/// beside the activations come in again for every chunk.
struct ProgramBuilder {
  let profile: ModelProfile
  let kernels: KernelTable
  let costs: CostModel
  let link: LinkModel
  let units: Int
  /// Bytes of memory; nil when weights stay resident unasked.
  let memory: Int?
  /// False: one chunk for the whole network.
  let perLayer: Bool
  /// The kernels that the model has settled on, by layer.
  let settled: [Int]

  /// What a border between segments has to gain, as a share of the network's time: it ends runs and
  /// copies what waits there, and measured times are no surer than that.
  private static let leastGain = 0.005

  /// What a second of the link costs, in seconds, although computing hides it: the page-ins of
  /// others wait behind it.
  ///
  /// Without it a plan read weights once more for every chunk wherever that took no longer.
  static let priceOfLink = 0.1

  private var count: Int { profile.layers.count }

  /// The best way through, or nil when no way fits into memory.
  func program(samples: Int) -> BatchProgram? {
    // Beside the activations of many samples only the smallest kernels may have room.
    program(samples, settled) ?? program(samples, kernels.smallest)
  }

  private func program(_ samples: Int, _ kernels: [Int]) -> BatchProgram? {
    let chunks = perLayer && memory != nil ? Self.ladder(samples) : [samples]
    let ways = chunks.map { chunk in
      Way(
        chunk: chunk, kernels: kernels,
        seconds: kernels.map { seconds(kernel: $0, chunk: chunk, samples) })
    }
    guard memory != nil else {
      return ways.first.map { finish([(0..<count, $0)], samples) }
    }
    if perLayer { return bestSegments(ways, samples).map { finish($0, samples) } }
    let whole = ways.compactMap { way in
      part(0..<count, way, samples).seconds(endingAt: count - 1).map { (seconds: $0, way: way) }
    }
    return whole.min { $0.seconds < $1.seconds }.map { finish([(0..<count, $0.way)], samples) }
  }

  /// The best of the ways to cut the layers into segments that come out at several prices of the
  /// link: page-ins of one segment hide behind the computing of those before it, so only the sums
  /// tell which of the two is the bottleneck.
  private func bestSegments(_ ways: [Way], _ samples: Int) -> [(Range<Int>, Way)]? {
    var best: (seconds: Double, segments: [(Range<Int>, Way)])?
    for price in [Self.priceOfLink, 1] {
      guard let segments = bestSegments(ways, samples, price: price) else { return nil }
      var (compute, transfer) = (0.0, 0.0)
      for (range, way) in segments {
        let part = part(range, way, samples)
        compute += part.compute
        transfer += part.transfer(endingAt: range.upperBound - 1) ?? 0
      }
      let seconds = max(compute, transfer) + transfer * Self.priceOfLink
      if seconds < best?.seconds ?? .infinity { best = (seconds, segments) }
      // Dearer links make for less on them and more computing.
      if transfer <= compute { break }
    }
    return best?.segments
  }

  /// The ways through with the least seconds, a second on the link counting `price` seconds.
  private func bestSegments(
    _ ways: [Way], _ samples: Int, price: Double
  ) -> [(Range<Int>, Way)]? {
    // Without it a plan falls into pieces wherever noise made one chunk look faster than another.
    let border = ways[0].seconds.reduce(0, +) * Self.leastGain
    var best = Array(repeating: Double.infinity, count: count + 1)
    var from = Array(repeating: (0, 0), count: count + 1)
    best[0] = 0
    for start in 0..<count where best[start] < .infinity {
      for (place, way) in ways.enumerated() {
        var part = Part(self, start: start, chunk: way.chunk, samples: samples)
        for layer in start..<count {
          part.add(layer, way)
          guard part.canFit else { break }
          guard let transfer = part.transfer(endingAt: layer) else { continue }
          let total = best[start] + part.compute + transfer * price + border
          if total < best[layer + 1] {
            (best[layer + 1], from[layer + 1]) = (total, (start, place))
          }
        }
      }
    }
    guard best[count] < .infinity else { return nil }
    var segments: [(Range<Int>, Way)] = []
    var end = count
    while end > 0 {
      segments.append((from[end].0..<end, ways[from[end].1]))
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

  private func part(_ range: Range<Int>, _ way: Way, _ samples: Int) -> Part {
    var part = Part(self, start: range.lowerBound, chunk: way.chunk, samples: samples)
    for layer in range { part.add(layer, way) }
    return part
  }

  /// How a segment may go: its chunk, and the kernel of each layer.
  private struct Way {
    var chunk: Int
    var kernels: [Int]
    /// Seconds of all samples, chunk by chunk, by layer: looked at once for every layer that a
    /// segment could begin at.
    var seconds: [Double]
  }

  /// Seconds of all samples through a layer, chunk by chunk.
  private func seconds(kernel: Int, chunk: Int, _ samples: Int) -> Double {
    costs.seconds(kernel: kernel, samples: samples, batch: chunk, units: units)
  }

  // MARK: Segments

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

    mutating func add(_ layer: Int, _ way: Way) {
      let kernel = way.kernels[layer]
      let bytes = builder.kernels.weights[kernel]
      compute += way.seconds[layer]
      weights += bytes
      largest = max(largest, bytes)
      let each = builder.profile.activations(around: layer) + builder.kernels.scratch[kernel]
      inside = max(inside, each * chunk)
    }

    /// Whether it might fit with some layer as its last one: what it needs only grows.
    var canFit: Bool {
      guard let memory = builder.memory else { return true }
      let waiting = (samples - chunk) * builder.profile.activations(before: start)
      return waiting + inside + largest <= memory
    }

    /// Bytes of activations and scratch of all samples; those that are not in the chunk under way
    /// wait at one of the ends.
    func activations(endingAt layer: Int) -> Int {
      let profile = builder.profile
      let waiting = max(
        profile.activations(before: start), profile.layers[layer].activations.bytes)
      return (samples - chunk) * waiting + inside
    }

    func pageIns(endingAt layer: Int) -> Int? {
      guard let memory = builder.memory else { return 0 }
      let frame = memory - activations(endingAt: layer)
      guard frame >= largest else { return nil }
      let sweeps = (samples + chunk - 1) / chunk
      let kept = weights <= frame ? weights : max(frame - largest, 0)
      return weights + (sweeps - 1) * (weights - kept)
    }

    /// Seconds on the link; nil when the layers do not fit.
    func transfer(endingAt layer: Int) -> Double? {
      pageIns(endingAt: layer).map { builder.link.seconds(bytes: $0) }
    }

    /// Seconds when nothing else hides the page-ins; nil when the layers do not fit.
    func seconds(endingAt layer: Int) -> Double? {
      transfer(endingAt: layer).map { max(compute, $0) + $0 * ProgramBuilder.priceOfLink }
    }
  }

  private func finish(_ parts: [(Range<Int>, Way)], _ samples: Int) -> BatchProgram {
    var program = BatchProgram(
      samples: samples, segments: [], kernels: [], kernelNumbers: [], layerBatches: [],
      layerSeconds: [], pageIns: 0)
    for (range, way) in parts {
      let part = part(range, way, samples)
      program.kernels += way.kernels[range]
      for kernel in way.kernels[range] {
        program.kernelNumbers.append(kernels.number(of: kernel))
        program.layerBatches.append(way.chunk)
        program.layerSeconds.append(
          costs.seconds(kernel: kernel, batch: way.chunk, units: units))
      }
      let last = range.upperBound - 1
      program.pageIns += part.pageIns(endingAt: last) ?? 0
      let activations = part.activations(endingAt: last)
      program.segments.append(
        BatchProgram.Segment(
          layers: range, chunk: way.chunk, activations: activations,
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
