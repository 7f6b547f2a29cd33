import API
import Engine
import HTTP
import Metrics
import Models
import Scheduling
import Synchronization
import Vocabulary

/// A service whose models answer with their inputs, or with whatever a test says.
final class FakeService: InferenceService {
  let models: [ModelDescription]
  let isReady: Bool
  private let answer: @Sendable (InferenceRequest) -> Result<InferenceResult, InferenceError>
  private let received = Mutex<[InferenceRequest]>([])
  private let cancelled = Mutex<[RequestID]>([])

  /// A service with `echo` (all types that JSON carries), `half` (those that it does not), `pair`
  /// (two versions, one input of shape [-1, 2]), `loading` and `broken`.
  init(
    isReady: Bool = true,
    answer: (@Sendable (InferenceRequest) -> Result<InferenceResult, InferenceError>)? = nil
  ) {
    self.isReady = isReady
    self.answer = answer ?? Self.echo
    let types = ElementType.allCases.map {
      TensorDescription(name: $0.rawValue, type: $0, shape: [-1])
    }
    let whole = types.filter { $0.type != .float16 && $0.type != .bfloat16 }
    let half = types.filter { $0.type == .float16 || $0.type == .bfloat16 }
    let pair = [TensorDescription(name: "x", type: .float32, shape: [-1, 2])]
    models = [
      ModelDescription(name: "echo", version: "1", state: .ready, inputs: whole, outputs: whole),
      ModelDescription(name: "half", version: "1", state: .ready, inputs: half, outputs: half),
      ModelDescription(name: "pair", version: "2", state: .ready, inputs: pair, outputs: pair),
      ModelDescription(name: "pair", version: "1", state: .ready, inputs: pair, outputs: pair),
      ModelDescription(name: "a b/ü", version: "1", state: .ready, inputs: pair, outputs: pair),
      ModelDescription(name: "loading", version: "1", state: .loading),
      ModelDescription(
        name: "broken", version: "1", state: .unavailable("Node 'n' uses operator 'Nope'.")),
    ]
  }

  /// The requests that came, in order.
  var requests: [InferenceRequest] { received.withLock { $0 } }

  func model(_ name: String, version: String?) -> ModelDescription? {
    models.first { $0.name == name && (version == nil || $0.version == version) }
  }

  func infer(
    _ request: InferenceRequest,
    completion: @escaping @Sendable (Result<InferenceResult, InferenceError>) -> Void
  ) -> RequestID {
    received.withLock { $0.append(request) }
    completion(answer(request))
    return RequestID(UInt64(requests.count))
  }

  /// What a scheduler says of two layers, the first of which needs much scratch.
  func forecast(
    _ model: String, version: String?, samples: Int,
    completion: @escaping @Sendable (Result<ModelForecast, InferenceError>) -> Void
  ) {
    let cost = LayerCost(fixed: .milliseconds(1), perSample: .milliseconds(2))
    let large = LayerProfile(
      weights: ByteCount(1000), activations: ByteCount(2000), scratch: ByteCount(20_000),
      cost: cost)
    let small = LayerProfile(
      weights: ByteCount(20_000), activations: ByteCount(100), scratch: .zero, cost: cost)
    var scheduler = Scheduler(
      SchedulerOptions(
        units: 2, budget: ByteCount(80_000), pageBytes: ByteCount(1000), linkRate: 1e9,
        linkLatency: .zero))
    _ = scheduler.step(
      .modelAdded(
        ModelID(0),
        ModelProfile(
          layers: [large, small], input: ByteCount(100), maximumBatch: 1000,
          maximumQueueDelay: .zero, queueLimit: 1)), at: .zero)
    guard let forecast = scheduler.forecast(ModelID(0), samples: samples) else {
      return completion(.failure(InferenceError(.unavailable, "Nothing is known.")))
    }
    completion(
      .success(
        ModelForecast(version: version ?? "2", layers: ["large", "small"], forecast: forecast)))
  }

  func cancel(_ request: RequestID) { cancelled.withLock { $0.append(request) } }

  /// The requests whose clients left, in order.
  var cancellations: [RequestID] { cancelled.withLock { $0 } }

  static func echo(_ request: InferenceRequest) -> Result<InferenceResult, InferenceError> {
    let outputs =
      request.outputs.isEmpty
      ? request.inputs
      : request.outputs.compactMap { name in request.inputs.first { $0.name == name } }
    return .success(result(outputs))
  }

  static func result(_ outputs: [(name: String, tensor: Tensor)]) -> InferenceResult {
    InferenceResult(
      version: "1", outputs: outputs, queueTime: .microseconds(1500),
      computeTime: .milliseconds(2), batchSamples: 4)
  }
}

/// Keeps the one answer that it gets.
final class Inbox: ResponseSink {
  private let received = Mutex<[Response]>([])

  private let departure = Mutex<(@Sendable () -> Void)?>(nil)

  func send(_ response: Response) { received.withLock { $0.append(response) } }

  func onDisconnect(_ action: @escaping @Sendable () -> Void) {
    departure.withLock { $0 = action }
  }

  /// Plays a client that leaves.
  func disconnect() { departure.withLock { $0 }?() }

  var responses: [Response] { received.withLock { $0 } }
}

/// An API in front of a fake, and short ways to ask it.
struct Harness {
  let service: FakeService
  let api: InferenceAPI
  let registry = Registry()

  init(
    _ service: FakeService = FakeService(), observer: (@Sendable (RequestLog) -> Void)? = nil
  ) {
    self.service = service
    api = InferenceAPI(
      service: service, version: "1.2.3", registry: registry,
      observer: observer)
  }

  /// Sends a request; nil unless it gets exactly one answer.
  func ask(
    _ method: String, _ path: String, _ headers: [(name: String, value: String)] = [],
    body: [UInt8] = []
  ) -> Response? {
    let inbox = Inbox()
    ask(method, path, headers, body: body, inbox: inbox)
    return inbox.responses.count == 1 ? inbox.responses.first : nil
  }

  /// Sends a request whose answer goes to an inbox.
  func ask(
    _ method: String, _ path: String, _ headers: [(name: String, value: String)] = [],
    body: [UInt8] = [], inbox: Inbox
  ) {
    body.withUnsafeBytes { bytes in
      let request = Request(
        method: method, path: path, query: nil, headers: Headers(headers), body: bytes)
      api.handle(request, sink: inbox)
    }
  }

  /// Posts JSON to a model.
  func infer(_ model: String, _ json: String) -> Response? {
    ask("POST", "/v2/models/\(model)/infer", body: Array(json.utf8))
  }

  /// Posts JSON and the bytes behind it.
  func infer(_ model: String, _ json: String, _ blobs: [UInt8]) -> Response? {
    let header = ("inference-header-content-length", String(json.utf8.count))
    return ask("POST", "/v2/models/\(model)/infer", [header], body: Array(json.utf8) + blobs)
  }
}

extension Response {
  /// The body as text.
  var text: String { String(decoding: body, as: UTF8.self) }

  /// The value of a header.
  func header(_ name: String) -> String? { headers.first { $0.name == name }?.value }

  /// The JSON and the bytes behind it.
  var parts: (json: String, blobs: [UInt8])? {
    guard let value = header("Inference-Header-Content-Length"), let count = Int(value) else {
      return nil
    }
    return (String(decoding: body.prefix(count), as: UTF8.self), Array(body.dropFirst(count)))
  }
}
