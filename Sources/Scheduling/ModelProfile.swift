public import Vocabulary

/// What a policy knows of a model.
public struct ModelProfile: Sendable {
  /// Layers in running order.
  public var layers: [LayerProfile]
  /// Bytes per sample that live before the first layer.
  public var input: ByteCount
  /// The most samples of one batch; 1 for a model whose samples are not independent.
  public var maximumBatch: Int
  /// How long the first request of a batch may wait for company.
  public var maximumQueueDelay: Duration
  /// The most requests that may wait.
  public var queueLimit: Int
  /// How much an answer of this model is worth beside those of others.
  public var weight: Double
  /// How soon an answer is hoped for; policies that plan for a target read it, nil for no target.
  public var target: Duration?

  /// What a policy knows of a model.
  public init(
    layers: [LayerProfile], input: ByteCount = .zero, maximumBatch: Int,
    maximumQueueDelay: Duration, queueLimit: Int, weight: Double = 1, target: Duration? = nil
  ) {
    self.layers = layers
    self.input = input
    self.maximumBatch = maximumBatch
    self.maximumQueueDelay = maximumQueueDelay
    self.queueLimit = queueLimit
    self.weight = weight
    self.target = target
  }

  /// The weights of all layers.
  public var weights: ByteCount { layers.reduce(into: .zero) { $0 += $1.weights } }
}

/// What a policy knows of a layer.
public struct LayerProfile: Sendable {
  /// Bytes of weights.
  public var weights: ByteCount
  /// Bytes per sample that live across the border after the layer.
  public var activations: ByteCount
  /// Bytes of scratch per sample of the layer batch.
  public var scratch: ByteCount
  /// How long the layer takes; what is measured corrects it.
  public var cost: LayerCost
  /// Other kernels that compute the layer; empty where there is no choice.
  ///
  /// Activations lie the same way whichever kernel runs, so that a batch can go on in another plan.
  public var alternatives: [KernelProfile]

  /// What a policy knows of a layer.
  public init(
    weights: ByteCount, activations: ByteCount, scratch: ByteCount, cost: LayerCost = .unknown,
    alternatives: [KernelProfile] = []
  ) {
    self.weights = weights
    self.activations = activations
    self.scratch = scratch
    self.cost = cost
    self.alternatives = alternatives
  }

  /// How many kernels compute the layer.
  public var kernelCount: Int { 1 + alternatives.count }

  /// A kernel of the layer: 0 is the one that the layer itself describes.
  public func kernel(_ index: Int) -> KernelProfile {
    index == 0
      ? KernelProfile(weights: weights, scratch: scratch, cost: cost) : alternatives[index - 1]
  }
}

/// One way to compute a layer: direct, Winograd, another number format.
public struct KernelProfile: Sendable {
  /// Bytes of weights in the layout that this kernel reads.
  public var weights: ByteCount
  /// Bytes of scratch per sample of the layer batch.
  public var scratch: ByteCount
  /// How long the layer takes with it.
  public var cost: LayerCost

  /// One way to compute a layer.
  public init(weights: ByteCount, scratch: ByteCount, cost: LayerCost) {
    self.weights = weights
    self.scratch = scratch
    self.cost = cost
  }
}

extension ModelProfile {
  /// Bytes of one sample that waits before a layer, or after the last one.
  func activations(before layer: Int) -> Int {
    layer == 0 ? input.bytes : layers[layer - 1].activations.bytes
  }

  /// Bytes of one sample on both sides of a layer: what goes in and what comes out.
  func activations(around layer: Int) -> Int {
    activations(before: layer) + layers[layer].activations.bytes
  }
}

/// The time of one kernel call of a layer by layer batch and compute units: a measured table.
///
/// Between two batches of the table the time is interpolated, beyond the last one it grows on with
/// the last slope. Units that are not in the table count as the next smaller number that is.
public struct LayerCost: Sendable, Equatable {
  /// The layer batches that were measured, ascending.
  public let batches: [Int]
  /// The numbers of units that were measured, ascending.
  public let units: [Int]
  /// Seconds: for each number of units one row over all batches.
  public let seconds: [Double]

  /// Nothing is known: the first measured runs say.
  public static let unknown = LayerCost(batches: [], units: [], seconds: [])

  /// A measured table.
  ///
  /// - Parameter seconds: `units.count` rows of `batches.count` times.
  public init(batches: [Int], units: [Int], seconds: [Double]) {
    precondition(seconds.count == batches.count * units.count, "The table must be full.")
    self.batches = batches
    self.units = units
    self.seconds = seconds
  }

  /// A measured table.
  ///
  /// - Parameter durations: `units.count` rows of `batches.count` times.
  public init(batches: [Int], units: [Int], durations: [Duration]) {
    self.init(batches: batches, units: units, seconds: durations.map(\.inSeconds))
  }

  /// A straight line, whatever the units: a call takes `fixed` and then `perSample` for each
  /// sample.
  public init(fixed: Duration, perSample: Duration) {
    self.init(batches: [1, 2], units: [1], durations: [fixed + perSample, fixed + perSample * 2])
  }

  /// The time of one call.
  public func seconds(batch: Int, units: Int) -> Double {
    guard !batches.isEmpty else { return 0 }
    var row = 0
    while row + 1 < self.units.count, self.units[row + 1] <= units { row += 1 }
    let start = row * batches.count
    guard batches.count > 1 else { return seconds[start] * Double(batch) / Double(batches[0]) }
    var upper = 1
    while upper + 1 < batches.count, batches[upper] < batch { upper += 1 }
    let (low, high) = (seconds[start + upper - 1], seconds[start + upper])
    let (from, to) = (batches[upper - 1], batches[upper])
    let share = Double(batch - from) / Double(to - from)
    return max(low + (high - low) * share, 0)
  }
}
