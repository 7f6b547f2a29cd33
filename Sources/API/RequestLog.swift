public import Vocabulary

/// What is worth knowing of one answered request; `line` is its line in the request log.
public struct RequestLog: Sendable {
  /// The method, such as `POST`.
  public var method: String
  /// The path as it came.
  public var path: String
  /// The model asked for, if any.
  public var model: String?
  /// The version that answered, or the one asked for.
  public var version: String?
  /// The id that the client gave.
  public var id: String?
  /// The owner of the request.
  public var tenant: TenantID = .shared
  /// The status of the answer; 499 when the client left before it.
  public var status = 0
  /// Bytes of the request's body.
  public var requestBytes = 0
  /// Bytes of the answer's body.
  public var responseBytes = 0
  /// From the request being read to its answer being handed to the connection.
  public var duration: Duration = .zero
  /// How long it waited for its batch; nil without a result.
  public var queueTime: Duration?
  /// How long its batch computed; nil without a result.
  public var computeTime: Duration?
  /// The samples of its batch; nil without a result.
  public var batchSamples: Int?
  /// The sentence of the error, if any.
  public var error: String?

  /// The record as one line of JSON, without the time, which the writer of the log knows.
  ///
  /// Durations are in milliseconds.
  public var line: String {
    var json = JSONWriter(capacity: 256)
    json.open("{")
    write(into: &json)
    json.close("}")
    return String(decoding: json.bytes, as: UTF8.self)
  }

  private func write(into json: inout JSONWriter) {
    json.key("method")
    json.string(method)
    json.key("path")
    json.string(path)
    if let model {
      json.key("model")
      json.string(model)
    }
    if let version {
      json.key("version")
      json.string(version)
    }
    if let id {
      json.key("id")
      json.string(id)
    }
    json.key("status")
    json.integer(status)
    json.key("request_bytes")
    json.integer(requestBytes)
    json.key("response_bytes")
    json.integer(responseBytes)
    json.key("duration_ms")
    json.milliseconds(duration)
    if let queueTime, let computeTime, let batchSamples {
      json.key("queue_ms")
      json.milliseconds(queueTime)
      json.key("compute_ms")
      json.milliseconds(computeTime)
      json.key("batch_samples")
      json.integer(batchSamples)
    }
    if let error {
      json.key("error")
      json.string(error)
    }
  }
}
