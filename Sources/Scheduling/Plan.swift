public import Vocabulary

/// What to do next, as data.
public struct Plan: Sendable {
  /// Requests that will not run, with the reason to tell their clients.
  public var rejections: [Rejection] = []
  /// Batches that were formed, each before the first run that names it.
  public var batches: [Batch] = []
  /// Work to hand to executors, in order.
  public var runs: [Run] = []
  /// Batches whose requests can be answered.
  public var completions: [BatchID] = []
  /// When to be woken with a tick, if nothing happens before.
  public var wakeAt: Instant?

  /// Nothing to do.
  public init() {}
}

/// A request that will not run.
public struct Rejection: Sendable, Equatable {
  /// Why a request will not run.
  public enum Reason: Sendable, Equatable {
    /// As many requests wait for the model as may; room is expected after this long.
    case queueFull(retryAfter: Duration)
    /// The deadline passed, or will pass before the answer can be there.
    case deadlinePassed
    /// The client has gone away.
    case cancelled
    /// The model was removed while the request waited.
    case modelRemoved
    /// More samples than a batch of this model may hold.
    case tooManySamples(maximum: Int)
    /// A run of the batch failed.
    case failed
  }

  /// The request.
  public var request: RequestID
  /// Why it will not run.
  public var reason: Reason

  /// A request that will not run.
  public init(request: RequestID, reason: Reason) {
    self.request = request
    self.reason = reason
  }
}

/// Requests of one model that travel together.
public struct Batch: Sendable, Equatable {
  /// Why a batch was closed.
  public enum Reason: String, Sendable, CaseIterable {
    /// It holds as many samples as it may, or the next request does not fit.
    case full
    /// Its first request has waited as long as it may.
    case delay
    /// A deadline would otherwise be missed.
    case deadline
    /// No more company can be expected or afforded: compute units were free.
    case idle
    /// Memory allows no more samples.
    case memory
    /// Late arrivals joined at a segment border.
    case merge
  }

  /// The batch.
  public var id: BatchID
  /// The model that runs.
  public var model: ModelID
  /// The requests, in the order of their samples in the batch.
  public var requests: [RequestID]
  /// The samples of all requests together.
  public var samples: Int
  /// Why it was closed.
  public var reason: Reason

  /// Requests of one model that travel together.
  public init(
    id: BatchID, model: ModelID, requests: [RequestID], samples: Int, reason: Reason
  ) {
    self.id = id
    self.model = model
    self.requests = requests
    self.samples = samples
    self.reason = reason
  }
}

/// Work for one executor: consecutive layers of one batch.
public struct Run: Sendable, Equatable {
  /// The run.
  public var id: RunID
  /// The batch whose samples go through.
  public var batch: BatchID
  /// The model.
  public var model: ModelID
  /// The layers, in order.
  public var layers: Range<Int>
  /// The samples of the batch.
  public var samples: Range<Int>
  /// Samples that go through all the layers before the next ones start.
  public var chunk: Int
  /// Samples of one kernel call, per layer of `layers`; empty when it is the chunk everywhere.
  public var layerBatches: [Int]
  /// Compute units that the run may use.
  public var units: Int

  /// Work for one executor.
  public init(
    id: RunID, batch: BatchID, model: ModelID, layers: Range<Int>, samples: Range<Int>,
    chunk: Int, layerBatches: [Int] = [], units: Int
  ) {
    self.id = id
    self.batch = batch
    self.model = model
    self.layers = layers
    self.samples = samples
    self.chunk = chunk
    self.layerBatches = layerBatches
    self.units = units
  }
}
