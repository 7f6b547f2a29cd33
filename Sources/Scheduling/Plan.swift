public import Vocabulary

/// What to do next, as data.
///
/// To be carried out in the order of the members: evictions at once, so that their memory is free
/// before anything else takes it; page-ins one after another, in the background; each run when its
/// plan arrives, because the weights that it needs are resident by then.
public struct Plan: Sendable {
  /// Weights to drop, at once and before anything else.
  public var evictions: [Eviction] = []
  /// Requests that will not run, with the reason to tell their clients.
  public var rejections: [Rejection] = []
  /// Requests whose samples are all through: their outputs can be copied and sent.
  public var answers: [RequestID] = []
  /// Batches that are over, after their last answer: their memory can be released.
  public var completions: [BatchID] = []
  /// Batches that end although not all of their requests were answered: these wait again.
  public var returns: [BatchID] = []
  /// Batches that were formed or that grew, each before the first run that names it.
  public var batches: [Batch] = []
  /// The requests of `batches`, one batch after another.
  public var members: [RequestID] = []
  /// Weights to bring in, in this order.
  public var pageIns: [PageIn] = []
  /// Work to hand to executors, in order.
  public var runs: [Run] = []
  /// Bytes of weights that are in memory once the plan is carried out.
  public var weights = ByteCount.zero
  /// When to be woken with a tick, if nothing happens before.
  public var wakeAt: Instant?

  /// Nothing to do.
  public init() {}

  /// The requests of a batch of this plan, in the order of their samples.
  public func requests(of batch: Batch) -> ArraySlice<RequestID> { members[batch.requests] }

  /// Empties the plan and keeps its memory, so that the next step allocates nothing.
  public mutating func removeAll() {
    evictions.removeAll(keepingCapacity: true)
    rejections.removeAll(keepingCapacity: true)
    answers.removeAll(keepingCapacity: true)
    completions.removeAll(keepingCapacity: true)
    returns.removeAll(keepingCapacity: true)
    batches.removeAll(keepingCapacity: true)
    members.removeAll(keepingCapacity: true)
    pageIns.removeAll(keepingCapacity: true)
    runs.removeAll(keepingCapacity: true)
    wakeAt = nil
  }
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
    /// It can never fit: this much memory would be needed.
    case insufficientMemory(needed: ByteCount)
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
  /// Where its requests stand in the plan's `members`, in the order of their samples.
  public var requests: Range<Int>
  /// The samples of these requests in the batch; they begin above 0 when late arrivals join.
  public var samples: Range<Int>
  /// The most samples that the batch can grow to.
  public var capacity: Int
  /// Why it was closed.
  public var reason: Reason

  /// Requests of one model that travel together.
  public init(
    id: BatchID, model: ModelID, requests: Range<Int>, samples: Range<Int>, capacity: Int,
    reason: Reason
  ) {
    self.id = id
    self.model = model
    self.requests = requests
    self.samples = samples
    self.capacity = capacity
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
  /// Samples of one kernel call, indexed by layer; empty when it is the chunk everywhere.
  public var layerBatches: ArraySlice<Int>
  /// Which kernel computes each layer, indexed by layer; empty when it is the first one everywhere.
  public var kernels: ArraySlice<Int>
  /// Compute units that the run may use.
  public var units: Int
  /// How long it should take; nil as long as nothing is known of the model's times.
  public var predicted: Duration?

  /// Work for one executor.
  public init(
    id: RunID, batch: BatchID, model: ModelID, layers: Range<Int>, samples: Range<Int>,
    chunk: Int, layerBatches: ArraySlice<Int> = [], kernels: ArraySlice<Int> = [], units: Int,
    predicted: Duration? = nil
  ) {
    self.id = id
    self.batch = batch
    self.model = model
    self.layers = layers
    self.samples = samples
    self.chunk = chunk
    self.layerBatches = layerBatches
    self.kernels = kernels
    self.units = units
    self.predicted = predicted
  }
}

/// Weights to bring into memory.
public struct PageIn: Sendable, Equatable {
  /// The page-in.
  public var id: PageInID
  /// The model.
  public var model: ModelID
  /// The layer.
  public var layer: Int
  /// Which of the layer's kernels the weights are for.
  public var kernel: Int
  /// The bytes of the kernel's weights: whole pages, but for their end.
  public var bytes: Range<Int>

  /// Weights to bring into memory.
  public init(id: PageInID, model: ModelID, layer: Int, kernel: Int = 0, bytes: Range<Int>) {
    self.id = id
    self.model = model
    self.layer = layer
    self.kernel = kernel
    self.bytes = bytes
  }
}

/// Weights to drop from memory; they are clean, so nothing is written.
public struct Eviction: Sendable, Equatable {
  /// The model.
  public var model: ModelID
  /// The layer.
  public var layer: Int
  /// Which of the layer's kernels the weights are for.
  public var kernel: Int
  /// The bytes of the kernel's weights: whole pages, but for their end.
  public var bytes: Range<Int>

  /// Weights to drop from memory.
  public init(model: ModelID, layer: Int, kernel: Int = 0, bytes: Range<Int>) {
    self.model = model
    self.layer = layer
    self.kernel = kernel
    self.bytes = bytes
  }
}
