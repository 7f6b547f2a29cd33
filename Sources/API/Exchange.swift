import Engine
import HTTP

/// One request on its way: where its answer goes and what its log record says.
struct Exchange: Sendable {
  private let sink: any ResponseSink
  private let counters: AnswerCounters
  private let observer: (@Sendable (RequestLog) -> Void)?
  private var log: RequestLog?
  private var start: ContinuousClock.Instant?

  /// Begins an exchange; without an observer nothing is noted and no clock is read.
  init(
    _ request: borrowing Request, sink: any ResponseSink, counters: AnswerCounters,
    observer: (@Sendable (RequestLog) -> Void)?
  ) {
    self.sink = sink
    self.counters = counters
    self.observer = observer
    guard observer != nil else { return }
    start = .now
    log = RequestLog(
      method: request.method, path: request.path, requestBytes: request.body.count)
  }

  /// Notes the model that the path names.
  mutating func note(model: String, version: String?) {
    log?.model = model
    log?.version = version
  }

  /// Notes the id that the client gave.
  mutating func note(id: String?) { log?.id = id }

  /// Sets what to call when the client leaves before its answer.
  func onDisconnect(_ action: @escaping @Sendable () -> Void) { sink.onDisconnect(action) }

  /// Sends an answer.
  func finish(_ response: Response) { send(response, log) }

  /// Sends an error.
  func finish(_ error: APIError) {
    var log = log
    log?.error = error.message
    send(error.response, log)
  }

  /// Sends what became of an inference.
  func finish(_ outcome: Result<InferenceResult, InferenceError>, _ answer: InferAnswer) {
    do throws(APIError) {
      let result: InferenceResult
      switch outcome {
      case .success(let success): result = success
      case .failure(let error): throw APIError(error)
      }
      let response = try answer.response(to: result)
      var log = log
      log?.version = result.version
      log?.queueTime = result.queueTime
      log?.computeTime = result.computeTime
      log?.batchSamples = result.batchSamples
      send(response, log)
    } catch {
      finish(error)
    }
  }

  private func send(_ response: Response, _ log: RequestLog?) {
    let (status, bytes) = (response.status, response.body.count)
    sink.send(response)
    counters.count(status)
    guard let observer, var log, let start else { return }
    log.status = status
    log.responseBytes = bytes
    log.duration = ContinuousClock.now - start
    observer(log)
  }
}
