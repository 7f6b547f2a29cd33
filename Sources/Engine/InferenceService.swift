public import Models
public import Vocabulary

/// What the API needs of an engine; tests of the API bring their own.
public protocol InferenceService: Sendable {
  /// Every model of the store, loaded or refused, by name and version.
  var models: [ModelDescription] { get }

  /// A model by name; the newest ready version when none is named.
  func model(_ name: String, version: String?) -> ModelDescription?

  /// Whether every model of the store has been loaded or refused.
  var isReady: Bool { get }

  /// Queues a request. The answer comes exactly once, on any thread, also when this call refuses.
  ///
  /// - Returns: What to call when the client has gone away.
  @discardableResult
  func infer(
    _ request: InferenceRequest,
    completion: @escaping @Sendable (Result<InferenceResult, InferenceError>) -> Void
  ) -> RequestID
  /// Tells that nobody waits for the answer any more; it still comes, as an error or a result.
  func cancel(_ request: RequestID)

  /// Asks what would become of a batch now; the answer comes exactly once, on any thread.
  func forecast(
    _ model: String, version: String?, samples: Int,
    completion: @escaping @Sendable (Result<ModelForecast, InferenceError>) -> Void)
}

/// What is known of a model from outside.
public struct ModelDescription: Sendable {
  /// Whether it can be asked.
  public enum State: Sendable, Equatable {
    /// Being read and compiled.
    case loading
    /// Ready for requests.
    case ready
    /// Refused, with the sentence that says why.
    case unavailable(String)
  }

  /// The name in URLs.
  public var name: String
  /// The version, such as `1`.
  public var version: String
  /// Whether it can be asked.
  public var state: State
  /// The inputs in the graph's order; empty until it is read.
  public var inputs: [TensorDescription]
  /// The outputs in the graph's order; empty until it is read.
  public var outputs: [TensorDescription]
  /// The most samples of one batch; 1 when samples are not independent.
  public var maximumBatch: Int
  /// What it is computed with.
  public var precision: Precision
  /// What a reduced precision costs; nil in FP32, and where it could not be measured.
  public var precisionLoss: PrecisionLoss?

  /// What is known of a model from outside.
  public init(
    name: String, version: String, state: State, inputs: [TensorDescription] = [],
    outputs: [TensorDescription] = [], maximumBatch: Int = 1, precision: Precision = .float32,
    precisionLoss: PrecisionLoss? = nil
  ) {
    self.name = name
    self.version = version
    self.state = state
    self.inputs = inputs
    self.outputs = outputs
    self.maximumBatch = maximumBatch
    self.precision = precision
    self.precisionLoss = precisionLoss
  }
}

/// An input or output as metadata shows it.
public struct TensorDescription: Sendable, Equatable {
  /// The name in the file.
  public var name: String
  /// The type of the elements.
  public var type: ElementType
  /// The dimensions, the batch included; -1 where a request decides.
  public var shape: [Int]

  /// An input or output as metadata shows it.
  public init(name: String, type: ElementType, shape: [Int]) {
    self.name = name
    self.type = type
    self.shape = shape
  }
}

/// One inference call with checked syntax; the engine checks it against the model.
public struct InferenceRequest: Sendable {
  /// The model asked for.
  public var model: String
  /// The version asked for; nil for the newest.
  public var version: String?
  /// Who asks.
  public var tenant: TenantID
  /// The inputs by name.
  public var inputs: [(name: String, tensor: Tensor)]
  /// The outputs wanted; empty for all.
  public var outputs: [String]
  /// 0 is first; larger numbers wait for smaller ones.
  public var priority: Int
  /// How long an answer is of use; nil for ever.
  public var timeout: Duration?

  /// One inference call.
  public init(
    model: String, version: String? = nil, tenant: TenantID = .shared,
    inputs: [(name: String, tensor: Tensor)], outputs: [String] = [], priority: Int = 0,
    timeout: Duration? = nil
  ) {
    self.model = model
    self.version = version
    self.tenant = tenant
    self.inputs = inputs
    self.outputs = outputs
    self.priority = priority
    self.timeout = timeout
  }
}

/// The answer to one inference call.
public struct InferenceResult: Sendable {
  /// The version that answered.
  public var version: String
  /// The outputs asked for, in the order asked for.
  public var outputs: [(name: String, tensor: Tensor)]
  /// How long the request waited for its batch to start.
  public var queueTime: Duration
  /// How long its batch computed.
  public var computeTime: Duration
  /// The samples of the batch in which it travelled.
  public var batchSamples: Int

  /// The answer to one inference call.
  public init(
    version: String, outputs: [(name: String, tensor: Tensor)], queueTime: Duration,
    computeTime: Duration, batchSamples: Int
  ) {
    self.version = version
    self.outputs = outputs
    self.queueTime = queueTime
    self.computeTime = computeTime
    self.batchSamples = batchSamples
  }
}

/// Why an inference call has no result: a sentence for the client, and what kind of trouble it is.
public struct InferenceError: Error, Sendable, Equatable {
  /// What kind of trouble it is; the API gives each its status.
  public enum Kind: Sendable, Equatable {
    /// The request does not fit the model (400).
    case invalid
    /// No such model or version (404).
    case notFound
    /// As many requests wait as may; room is expected after this long (429).
    case queueFull(retryAfter: Duration)
    /// The model is not ready, or the server is draining (503).
    case unavailable
    /// The deadline passed (504).
    case deadlinePassed
    /// It can never fit into the memory budget (507).
    case insufficientMemory
    /// The client went away before the answer (499 in logs).
    case cancelled
    /// The engine failed (500).
    case failed
  }

  /// What kind of trouble it is.
  public var kind: Kind
  /// A full sentence that says what to do.
  public var message: String

  /// Why an inference call has no result.
  public init(_ kind: Kind, _ message: String) {
    self.kind = kind
    self.message = message
  }
}
