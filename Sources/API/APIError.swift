import Engine
import HTTP
import Vocabulary

/// A request that gets no result: the status and the sentence of its answer.
struct APIError: Error, Equatable {
  /// The HTTP status.
  var status: Int
  /// A full sentence that says what to do.
  var message: String
  /// Seconds after which trying again makes sense.
  var retryAfter: Int?
  /// The methods that the path takes, when the method was wrong.
  var allow: String?

  init(_ status: Int, _ message: String, retryAfter: Int? = nil, allow: String? = nil) {
    self.status = status
    self.message = message
    self.retryAfter = retryAfter
    self.allow = allow
  }

  /// What the client can change: 400.
  static func invalid(_ message: String) -> APIError { APIError(400, message) }

  /// The engine's reason, with the status that clients and proxies act on.
  init(_ error: InferenceError) {
    message = error.message
    switch error.kind {
    case .invalid: status = 400
    case .notFound: status = 404
    case .queueFull(let delay):
      status = 429
      // Whole seconds are all the header knows; 0 would invite a busy loop.
      retryAfter = max(1, Int(delay.inSeconds.rounded(.up)))
    case .unavailable:
      status = 503
      retryAfter = 1
    case .deadlinePassed: status = 504
    case .insufficientMemory: status = 507
    case .cancelled: status = 499
    case .failed: status = 500
    }
  }

  /// The answer that carries this error.
  var response: Response {
    var json = JSONWriter()
    json.open("{")
    json.key("error")
    json.string(message)
    json.close("}")
    // Exactly this type, without a charset: KServe's client drops the sentence otherwise.
    var headers: [(name: String, value: String)] = [("Content-Type", "application/json")]
    if let retryAfter { headers.append(("Retry-After", String(retryAfter))) }
    if let allow { headers.append(("Allow", allow)) }
    if status == 415 { headers.append(("Accept-Encoding", "identity")) }
    return Response(status: status, headers: headers, body: json.bytes)
  }
}
