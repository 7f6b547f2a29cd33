public import Vocabulary

/// All that can happen to a scheduler.
public enum Event: Sendable {
  /// A model can now be asked for.
  case modelAdded(ModelID, ModelProfile)
  /// A model is gone; what waits for it is rejected.
  case modelRemoved(ModelID)
  /// A request was checked and wants its turn.
  case arrived(QueuedRequest)
  /// The client of a request has gone away.
  case cancelled(RequestID)
  /// An executor has done what a run asked for.
  case runFinished(RunID, took: Duration)
  /// An executor could not do it; the requests of the batch are lost.
  case runFailed(RunID)
  /// The moment that a plan asked to be woken at.
  case tick
}

/// A request as the scheduler sees it: its size and urgency, not its tensors.
public struct QueuedRequest: Sendable {
  /// The request.
  public var id: RequestID
  /// Who asks.
  public var tenant: TenantID
  /// The model asked for.
  public var model: ModelID
  /// Samples of the request; at least 1.
  public var samples: Int
  /// Requests of one model travel together only when their shape class is the same.
  public var shapeClass: Int
  /// 0 is first; larger numbers wait for smaller ones.
  public var priority: Int
  /// When an answer is of no more use; nil for never.
  public var deadline: Instant?

  /// A request as the scheduler sees it.
  public init(
    id: RequestID, tenant: TenantID = .shared, model: ModelID, samples: Int, shapeClass: Int = 0,
    priority: Int = 0, deadline: Instant? = nil
  ) {
    self.id = id
    self.tenant = tenant
    self.model = model
    self.samples = samples
    self.shapeClass = shapeClass
    self.priority = priority
    self.deadline = deadline
  }
}

/// What the scheduler knows of a model.
public struct ModelProfile: Sendable {
  /// Layers in running order.
  public var layers: [LayerProfile]
  /// The most samples of one batch; 1 for a model whose samples are not independent.
  public var maximumBatch: Int
  /// How long the first request of a batch may wait for company.
  public var maximumQueueDelay: Duration
  /// The most requests that may wait.
  public var queueLimit: Int

  /// What the scheduler knows of a model.
  public init(
    layers: [LayerProfile], maximumBatch: Int, maximumQueueDelay: Duration, queueLimit: Int
  ) {
    self.layers = layers
    self.maximumBatch = maximumBatch
    self.maximumQueueDelay = maximumQueueDelay
    self.queueLimit = queueLimit
  }
}

/// What the scheduler knows of a layer.
public struct LayerProfile: Sendable {
  /// Bytes of weights.
  public var weights: ByteCount
  /// Bytes per sample that live across the border after the layer.
  public var activations: ByteCount
  /// Bytes of scratch per sample of the layer batch.
  public var scratch: ByteCount

  /// What the scheduler knows of a layer.
  public init(weights: ByteCount, activations: ByteCount, scratch: ByteCount) {
    self.weights = weights
    self.activations = activations
    self.scratch = scratch
  }
}
