public import Engine
public import HTTP
public import Metrics
import Vocabulary

/// The Open Inference Protocol over HTTP: routes, tensors as JSON and as bytes, errors.
///
/// Holds no state of its own. Called on loop threads, which it never blocks: reading a body and
/// writing an answer is computation, waiting for a batch is the service's.
public struct InferenceAPI: RequestHandler {
  private let service: any InferenceService
  private let version: String
  private let registry: Registry
  private let counters: AnswerCounters
  private let observer: (@Sendable (RequestLog) -> Void)?

  /// An API in front of a service.
  ///
  /// - Parameters:
  ///   - service: What answers inference requests.
  ///   - version: The server's version, as metadata tells it.
  ///   - registry: What `/metrics` shows; the API adds its answers by status.
  ///   - observer: Gets a record of every request after its answer; nil saves making them.
  public init(
    service: any InferenceService, version: String, registry: Registry,
    observer: (@Sendable (RequestLog) -> Void)? = nil
  ) {
    self.service = service
    self.version = version
    self.registry = registry
    counters = AnswerCounters(registry)
    self.observer = observer
  }

  /// Answers one request, at once or when its batch is done.
  public func handle(_ request: borrowing Request, sink: any ResponseSink) {
    var exchange = Exchange(request, sink: sink, counters: counters, observer: observer)
    do throws(APIError) {
      let route = try Route(path: request.path)
      guard route.takes(request.method) else {
        throw APIError(
          405, "\(request.method) does not work here; use \(route.methods).", allow: route.methods)
      }
      switch route {
      case .infer(let name, let version): try infer(request, name, version, &exchange)
      case .plan(let name, let version): try plan(request, name, version, &exchange)
      default: exchange.finish(try answer(route, &exchange))
      }
    } catch {
      exchange.finish(error)
    }
  }

  /// The answer to a request that reads what is known.
  private func answer(_ route: Route, _ exchange: inout Exchange) throws(APIError) -> Response {
    switch route {
    case .server: return Metadata.server(version: version)
    case .live: return Metadata.live()
    case .ready: return Metadata.ready(service.isReady)
    case .models: return Metadata.models(service.models)
    case .metrics:
      return Response(
        status: 200, headers: [("Content-Type", "text/plain; version=0.0.4; charset=utf-8")],
        body: registry.text())
    case .model(let name, let version):
      let model = try readyModel(name, version, &exchange)
      let versions =
        version.map { [$0] } ?? service.models.filter { $0.name == name }.map(\.version)
      return Metadata.model(model, versions: versions)
    case .modelReady(let name, let version):
      return Metadata.modelReady(try model(name, version, &exchange))
    case .infer, .plan: throw APIError(500, "What waits for others took the way of a question.")
    }
  }

  private func model(
    _ name: String, _ version: String?, _ exchange: inout Exchange
  ) throws(APIError) -> ModelDescription {
    exchange.note(model: name, version: version)
    if let model = service.model(name, version: version) { return model }
    guard version == nil || service.model(name, version: nil) == nil else {
      throw APIError(
        404,
        "Model '\(name)' has no version '\(version ?? "")'. GET /v2/models/\(name) lists its "
          + "versions.")
    }
    throw APIError(404, "There is no model '\(name)'. GET /v2/models lists the models.")
  }

  private func readyModel(
    _ name: String, _ version: String?, _ exchange: inout Exchange
  ) throws(APIError) -> ModelDescription {
    let model = try model(name, version, &exchange)
    guard let reason = model.reasonNotReady else { return model }
    // Loading ends by itself; a refused file does not.
    throw APIError(503, reason, retryAfter: model.state == .loading ? 1 : nil)
  }

  private func plan(
    _ request: borrowing Request, _ name: String, _ version: String?, _ exchange: inout Exchange
  ) throws(APIError) {
    let model = try readyModel(name, version, &exchange)
    let samples = try PlanAnswer.samples(request.query)
    service.forecast(name, version: version, samples: samples) { [exchange] outcome in
      switch outcome {
      case .success(let forecast):
        exchange.finish(PlanAnswer(model: model.name, forecast: forecast).response)
      case .failure(let error): exchange.finish(APIError(error))
      }
    }
  }

  private func infer(
    _ request: borrowing Request, _ name: String, _ version: String?, _ exchange: inout Exchange
  ) throws(APIError) {
    let model = try readyModel(name, version, &exchange)
    if let coding = request.headers["content-encoding"], coding.lowercased() != "identity" {
      throw APIError(415, "Bodies coded as '\(coding)' are not taken: send the body as it is.")
    }
    let jsonCount = try Self.jsonCount(request)
    let (inference, form) = try InferBody(model: model, version: version)
      .read(request.body, jsonCount: jsonCount)
    exchange.note(id: form.id)
    let answer = InferAnswer(model: model.name, form: form)
    let admitted = service.infer(inference) { [exchange] outcome in
      exchange.finish(outcome, answer)
    }
    exchange.onDisconnect { [service] in service.cancel(admitted) }
  }

  /// The bytes of JSON at the beginning of the body; nil when all of it is.
  private static func jsonCount(_ request: borrowing Request) throws(APIError) -> Int? {
    guard let value = request.headers["inference-header-content-length"] else { return nil }
    guard value.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let count = Int(value),
      count <= request.body.count
    else {
      throw .invalid(
        "Inference-Header-Content-Length is '\(value)', which is no count of bytes between 0 and "
          + "the \(request.body.count) bytes of the body.")
    }
    return count
  }
}
