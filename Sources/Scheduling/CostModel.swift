import Vocabulary

/// How long the layers of one model take: a measured table, corrected by what runs take.
///
/// Times are seconds, by kernel as `KernelTable` has them. A run's time divided by its prediction
/// moves a factor per kernel: which one is slower than the table says.
struct CostModel: Sendable {
  private let tables: [LayerCost]
  private let layerCount: Int
  /// Measured time over table time, per kernel.
  private(set) var corrections: [Double]
  /// How far the corrections have moved since someone last looked.
  private(set) var drift = 0.0
  /// Measured time per sample over the whole model, for models without a table.
  private(set) var secondsPerSample: Double?
  /// Whether every kernel has a table.
  let isKnown: Bool

  /// How much of a surprise is believed at once.
  private static let learningRate = 0.125

  init(_ layers: [LayerProfile]) {
    tables = layers.flatMap { [$0.cost] + $0.alternatives.map(\.cost) }
    layerCount = layers.count
    corrections = Array(repeating: 1, count: tables.count)
    isKnown = !tables.isEmpty && tables.allSatisfy { $0 != .unknown }
  }

  /// The time of one kernel call.
  func seconds(kernel: Int, batch: Int, units: Int) -> Double {
    guard isKnown else { return (secondsPerSample ?? 0) * Double(batch) / Double(layerCount) }
    return tables[kernel].seconds(batch: batch, units: units) * corrections[kernel]
  }

  /// The time of some samples through a kernel in calls of `batch` samples.
  func seconds(kernel: Int, samples: Int, batch: Int, units: Int) -> Double {
    let (whole, rest) = samples.quotientAndRemainder(dividingBy: batch)
    let total = Double(whole) * seconds(kernel: kernel, batch: batch, units: units)
    return rest > 0 ? total + seconds(kernel: kernel, batch: rest, units: units) : total
  }

  /// Takes note of a run: `predicted` is what `seconds` said for all its calls together.
  ///
  /// - Parameter kernels: The kernels that ran, one a layer.
  mutating func learn(
    kernels: ArraySlice<Int>, predicted: Double, took: Double, samples: Int
  ) {
    let whole =
      took * Double(layerCount) / Double(max(kernels.count, 1)) / Double(max(samples, 1))
    secondsPerSample = secondsPerSample.map { $0 + (whole - $0) * Self.learningRate } ?? whole
    guard isKnown, predicted > 0, took > 0 else { return }
    // A run that met an interrupt says little: no surprise counts for more than a factor of two.
    let surprise = min(max(took / predicted, 0.5), 2)
    let factor = 1 + (surprise - 1) * Self.learningRate
    for kernel in kernels { corrections[kernel] *= factor }
    drift += abs(factor - 1) * Double(kernels.count) / Double(layerCount)
  }

  /// Says that everything derived from the corrections is made anew.
  mutating func settle() { drift = 0 }
}

/// How fast weights come in, learned from page-ins.
struct LinkModel: Sendable {
  private(set) var bytesPerSecond: Double
  private(set) var latency: Double

  init(bytesPerSecond: Double, latency: Duration) {
    self.bytesPerSecond = max(bytesPerSecond, 1)
    self.latency = latency.inSeconds
  }

  /// The time of one page-in.
  func seconds(bytes: Int) -> Double {
    bytes == 0 ? 0 : latency + Double(bytes) / bytesPerSecond
  }

  /// Takes note of a page-in; small ones say more about latency than about the rate.
  mutating func learn(bytes: Int, took: Double) {
    guard bytes >= 1 << 18, took > latency else { return }
    let rate = Double(bytes) / (took - latency)
    bytesPerSecond += (rate - bytesPerSecond) * 0.125
  }
}
