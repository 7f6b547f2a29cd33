import Vocabulary

/// How long the layers of one model take: a measured table, corrected by what runs take.
///
/// Times are seconds. A run's time divided by its prediction moves a factor per layer (which layer
/// is slower than the table says) and one for the model (how fast the device is now).
struct CostModel: Sendable {
  private let tables: [LayerCost]
  /// Measured time over table time, per layer.
  private(set) var corrections: [Double]
  /// How far the corrections have moved since someone last looked.
  private(set) var drift = 0.0
  /// Measured time per sample over the whole model, for models without a table.
  private(set) var secondsPerSample: Double?
  /// Whether every layer has a table.
  let isKnown: Bool

  /// How much of a surprise is believed at once.
  private static let learningRate = 0.125

  init(_ layers: [LayerProfile]) {
    tables = layers.map(\.cost)
    corrections = Array(repeating: 1, count: layers.count)
    isKnown = !layers.isEmpty && layers.allSatisfy { $0.cost != .unknown }
  }

  /// The time of one kernel call.
  func seconds(layer: Int, batch: Int, units: Int) -> Double {
    guard isKnown else { return (secondsPerSample ?? 0) * Double(batch) / Double(tables.count) }
    return tables[layer].seconds(batch: batch, units: units) * corrections[layer]
  }

  /// The time of a chunk through a layer whose kernel calls take `batch` samples.
  func seconds(layer: Int, chunk: Int, batch: Int, units: Int) -> Double {
    let (whole, rest) = chunk.quotientAndRemainder(dividingBy: batch)
    var total = Double(whole) * seconds(layer: layer, batch: batch, units: units)
    if rest > 0 { total += seconds(layer: layer, batch: rest, units: units) }
    return total
  }

  /// Takes note of a run: `predicted` is what `seconds` said for all its calls together.
  mutating func learn(layers: Range<Int>, predicted: Double, took: Double, samples: Int) {
    let whole = took * Double(tables.count) / Double(max(layers.count, 1)) / Double(max(samples, 1))
    secondsPerSample = secondsPerSample.map { $0 + (whole - $0) * Self.learningRate } ?? whole
    guard isKnown, predicted > 0, took > 0 else { return }
    // A run that met an interrupt says little: no surprise counts for more than a factor of two.
    let surprise = min(max(took / predicted, 0.5), 2)
    let factor = 1 + (surprise - 1) * Self.learningRate
    for layer in layers { corrections[layer] *= factor }
    drift += abs(factor - 1) * Double(layers.count) / Double(tables.count)
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
