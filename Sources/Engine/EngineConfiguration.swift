public import Vocabulary

/// How an engine serves.
public struct EngineConfiguration: Sendable {
  /// Compute units of the device.
  public var units: Int
  /// Runs that may be under way at once.
  public var executors: Int
  /// The most samples of one batch.
  public var maximumBatch: Int
  /// How long the first request of a batch may wait for company.
  public var maximumQueueDelay: Duration
  /// The most requests that may wait for one model.
  public var queueLimit: Int
  /// Memory for weights, activations and scratch; nil for no limit.
  public var memory: ByteCount?
  /// Where packed weights are kept; nil to keep weights in memory.
  public var packed: PackedFolder?
  /// What each model is computed with.
  public var precision: PrecisionChoice
  /// Whether layers with several kernels may be computed by any of them, as memory allows: then
  /// results depend on it in their last bits.
  public var offersAlternatives: Bool

  /// How an engine serves; the defaults suit a small machine.
  public init(
    units: Int = 1, executors: Int = 1, maximumBatch: Int = Limits.samplesPerBatch,
    maximumQueueDelay: Duration = .zero, queueLimit: Int = Limits.queuedRequestsPerModel,
    memory: ByteCount? = nil, packed: PackedFolder? = nil,
    precision: PrecisionChoice = PrecisionChoice(), offersAlternatives: Bool = true
  ) {
    self.units = max(units, 1)
    self.executors = max(executors, 1)
    self.maximumBatch = max(maximumBatch, 1)
    self.maximumQueueDelay = maximumQueueDelay
    self.queueLimit = max(queueLimit, 1)
    self.memory = memory
    self.packed = packed
    self.precision = precision
    self.offersAlternatives = offersAlternatives
  }
}
