/// An instance with its kernels chosen and its large layers cut into tiles, in flat arrays.
///
/// A tile is a layer of its own here: it holds the whole input until the last tile has run, and
/// adds its share of the output. Everything behind this type therefore knows only chains of layers.
struct Chain: Sendable {
  /// Where a link of the chain comes from.
  struct Origin: Sendable, Equatable {
    var layer: Int
    var tile: Int
    var tiles: Int
  }

  let origins: [Origin]
  let kernels: [Int]
  let samples: Int
  let weights: [Double]
  /// Megabytes that a step adds per sample while its input is still there.
  let added: [Double]
  /// Megabytes per sample at the border before a layer; one more entry for the end.
  let held: [Double]
  let scratch: [Double]
  /// Times by layer and samples, `samples + 1` for each layer.
  let times: [Double]
  /// The shortest time of some samples through a layer in steps of any size that fit.
  let shortest: [Double]
  let memory: Double
  let linkRate: Double
  let linkLatency: Double
  let prefetch: Bool
  let objective: Instance.Objective
  let page: Double?

  /// Sums of sizes are right to a few units of the last place: a thousandth of a byte is no
  /// overflow.
  static let tolerance = 1e-9

  var count: Int { weights.count }

  /// - Parameters:
  ///   - kernels: The kernel of each layer.
  ///   - tiles: The number of tiles of each layer.
  init(_ instance: Instance, kernels: [Int], tiles: [Int]) {
    var origins: [Origin] = []
    var weights: [Double] = []
    var added: [Double] = []
    var held = [0.0]
    var scratch: [Double] = []
    var times: [Double] = []
    for (index, layer) in instance.layers.enumerated() {
      let kernel = layer.kernels[kernels[index]]
      let count = tiles[index]
      let isLast = index == instance.layers.count - 1
      let output = isLast ? 0 : layer.activations
      let before = index == 0 ? 0 : instance.layers[index - 1].activations
      for tile in 0..<count {
        let share = Double(tile + 1) / Double(count)
        origins.append(Origin(layer: index, tile: tile, tiles: count))
        weights.append(kernel.weights / Double(count))
        added.append(output / Double(count))
        held.append(tile == count - 1 ? output : before + output * share)
        scratch.append(kernel.scratch)
        times.append(0)
        for batch in stride(from: 1, through: instance.samples, by: 1) {
          times.append(
            Self.tileTime(kernel.time, samples: batch, tiles: count))
        }
      }
    }
    self.origins = origins
    self.kernels = kernels
    (self.weights, self.added, self.held, self.scratch) = (weights, added, held, scratch)
    self.times = times
    samples = instance.samples
    memory = instance.memory
    (linkRate, linkLatency) = (instance.linkRate, instance.linkLatency)
    (prefetch, objective, page) = (instance.prefetch, instance.objective, instance.page)
    shortest = Self.shortest(
      times, samples: samples,
      largest: weights.indices.map { layer in
        // Tiles could make room for more samples.
        let counted = instance.page == nil ? weights[layer] : 0
        let room = instance.memory - counted - scratch[layer] + Self.tolerance
        let each = held[layer] + added[layer]
        return each > 0 ? Int(min(max(room / each, 0), Double(instance.samples))) : instance.samples
      })
  }

  /// The chain that no choice of kernels can beat: of each layer the least weights, scratch and
  /// times.
  init(cheapest instance: Instance) {
    var relaxed = instance
    for (index, layer) in instance.layers.enumerated() where layer.kernels.count > 1 {
      let points = (1...instance.samples).map { samples in
        StepTime.Point(
          samples: samples,
          milliseconds: layer.kernels.map { $0.time.milliseconds(samples: samples) }.min() ?? 0)
      }
      relaxed.layers[index].kernels = [
        Instance.Kernel(
          weights: layer.kernels.map(\.weights).min() ?? 0,
          scratch: layer.kernels.map(\.scratch).min() ?? 0, time: .table(points))
      ]
    }
    let ones = Array(repeating: 1, count: instance.layers.count)
    self.init(relaxed, kernels: ones.map { $0 - 1 }, tiles: ones)
  }

  /// A tile computes its share, but every call pays the fixed part.
  private static func tileTime(_ time: StepTime, samples: Int, tiles: Int) -> Double {
    guard tiles > 1 else { return time.milliseconds(samples: samples) }
    let one = time.milliseconds(samples: 1)
    let fixed = max(2 * one - time.milliseconds(samples: 2), 0)
    let fixedShare = min(fixed, one)
    return fixedShare + (time.milliseconds(samples: samples) - fixedShare) / Double(tiles)
  }

  private static func shortest(_ times: [Double], samples: Int, largest: [Int]) -> [Double] {
    var result = times
    for (layer, largest) in largest.enumerated() {
      let row = layer * (samples + 1)
      // Exact for few samples; beyond, the best rate of any step that fits: still a lower bound.
      guard samples <= 64 else {
        var rate = Double.infinity
        for batch in 1...max(largest, 1) { rate = min(rate, times[row + batch] / Double(batch)) }
        for count in 1...samples { result[row + count] = rate * Double(count) }
        continue
      }
      for count in stride(from: 1, through: samples, by: 1) {
        var best = Double.infinity
        for batch in 1...max(min(count, largest), 1) {
          best = min(best, times[row + batch] + result[row + count - batch])
        }
        result[row + count] = best
      }
    }
    return result
  }

  /// The time of a step.
  func time(_ layer: Int, _ batch: Int) -> Double { times[layer * (samples + 1) + batch] }

  /// The least time of a number of samples through a layer.
  func shortest(_ layer: Int, _ count: Int) -> Double {
    shortest[layer * (samples + 1) + count]
  }

  /// The time of a page-in.
  func transfer(_ megabytes: Double) -> Double {
    megabytes > 0 ? linkLatency + megabytes / linkRate : 0
  }

  /// What a step takes beside weights when all other samples wait outside.
  func footprint(_ layer: Int, _ batch: Int) -> Double {
    Double(batch) * (held[layer] + added[layer]) + scratch[layer]
  }

  /// The memory that a layer needs to run at all.
  func least(_ layer: Int) -> Double { weights[layer] + footprint(layer, 1) }

  /// The first layer that cannot run at all.
  var misfit: Int? { (0..<count).first { least($0) > memory + Self.tolerance } }
}
