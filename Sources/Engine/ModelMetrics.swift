import Metrics
import Scheduling
import Vocabulary

/// The metrics of one version of a model, Triton's names beside our own.
final class ModelMetrics: Sendable {
  private static let seconds = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
  ]
  /// What a ratio of measured to predicted time can be: dense around 1, where it should lie.
  private static let ratios = [0.5, 0.75, 0.9, 0.95, 1, 1.05, 1.1, 1.25, 1.5, 2, 4]
  private static let codes = [200, 400, 429, 499, 500, 503, 504, 507]

  private let requests: [Counter]
  private let reasons: [Counter]
  private let requestTime: Histogram
  private let queueTime: Histogram
  private let computeTime: Histogram
  private let predictedTime: Counter
  private let measuredTime: Counter
  private let predictionRatio: Histogram
  private let batchSamples: Histogram
  let inFlight: Gauge
  private let success: Counter
  private let failure: Counter
  private let samples: Counter
  private let executions: Counter
  private let pending: Gauge
  private let requestMicroseconds: Counter
  private let queueMicroseconds: Counter
  private let computeMicroseconds: Counter

  init(_ registry: Registry, model: String, version: String) {
    let labels = [(name: "model", value: model), (name: "version", value: version)]
    requests = Self.codes.map {
      registry.counter(
        "stowage_requests_total", "Inference requests by the status of their answers.",
        labels: labels + [("code", "\($0)")])
    }
    reasons = Batch.Reason.allCases.map {
      registry.counter(
        "stowage_batches_total", "Batches by the reason for which they were closed.",
        labels: labels + [("reason", $0.rawValue)])
    }
    func histogram(_ name: String, _ help: String) -> Histogram {
      registry.histogram(name, help, labels: labels, bounds: Self.seconds, scale: 1e-9)
    }
    requestTime = histogram(
      "stowage_request_seconds", "From a request's admission to its answer.")
    queueTime = histogram(
      "stowage_queue_seconds", "From a request's admission to the start of its batch.")
    computeTime = histogram("stowage_compute_seconds", "From the start of a batch to its end.")
    predictedTime = registry.counter(
      "stowage_batch_predicted_seconds_total",
      "Time that batches should have computed, as it was predicted run by run.", labels: labels,
      scale: 1e-9)
    measuredTime = registry.counter(
      "stowage_batch_measured_seconds_total", "Time that those batches did compute.",
      labels: labels, scale: 1e-9)
    predictionRatio = registry.histogram(
      "stowage_batch_measured_ratio", "Measured over predicted computing time of a batch.",
      labels: labels, bounds: Self.ratios, scale: 1e-3)
    batchSamples = registry.histogram(
      "stowage_batch_samples", "Samples of a batch.", labels: labels,
      bounds: [1, 2, 4, 8, 16, 32, 64, 128])
    inFlight = registry.gauge(
      "stowage_requests_in_flight", "Requests admitted and not answered.", labels: labels)

    success = registry.counter(
      "nv_inference_request_success", "Requests answered with a result.", labels: labels)
    failure = registry.counter(
      "nv_inference_request_failure", "Requests answered with an error.", labels: labels)
    samples = registry.counter(
      "nv_inference_count", "Samples answered with a result.", labels: labels)
    executions = registry.counter("nv_inference_exec_count", "Batches run.", labels: labels)
    pending = registry.gauge(
      "nv_inference_pending_request_count", "Requests that wait for their batch.", labels: labels)
    func microseconds(_ name: String, _ help: String) -> Counter {
      registry.counter(name, help, labels: labels, scale: 1e-3)
    }
    requestMicroseconds = microseconds(
      "nv_inference_request_duration_us", "Time of all requests together.")
    queueMicroseconds = microseconds(
      "nv_inference_queue_duration_us", "Queue time of all requests together.")
    computeMicroseconds = microseconds(
      "nv_inference_compute_infer_duration_us", "Compute time of all requests together.")
  }

  func admitted() {
    inFlight.add(1)
    pending.add(1)
  }

  func batchFormed(requests: Int, samples: Int, reason: Batch.Reason) {
    pending.add(-requests)
    executions.add()
    batchSamples.observe(samples)
    if let place = Batch.Reason.allCases.firstIndex(of: reason) { reasons[place].add() }
  }

  /// A batch is through; nothing was predicted when nothing was known of its layers.
  func batchFinished(_ time: Duration, predicted: Duration?) {
    computeTime.observe(time)
    guard let predicted, predicted > .zero else { return }
    predictedTime.add(Int(predicted.wholeNanoseconds))
    measuredTime.add(Int(time.wholeNanoseconds))
    predictionRatio.observe(Int((time / predicted * 1000).rounded()))
  }

  /// A request that was refused before it was admitted.
  func refused(_ error: InferenceError) {
    failure.add()
    count(error.kind.status)
  }

  /// A request that was admitted and now has its error.
  func failed(_ error: InferenceError, total: Duration, waited: Bool) {
    inFlight.add(-1)
    if waited { pending.add(-1) }
    requestTime.observe(total)
    refused(error)
  }

  func succeeded(samples count: Int, queue: Duration, compute: Duration, total: Duration) {
    inFlight.add(-1)
    success.add()
    samples.add(count)
    requestTime.observe(total)
    queueTime.observe(queue)
    requestMicroseconds.add(Int(total.wholeNanoseconds))
    queueMicroseconds.add(Int(queue.wholeNanoseconds))
    computeMicroseconds.add(Int(compute.wholeNanoseconds))
    self.count(200)
  }

  private func count(_ code: Int) {
    if let place = Self.codes.firstIndex(of: code) { requests[place].add() }
  }
}

extension InferenceError.Kind {
  /// The HTTP status of an answer with this error.
  public var status: Int {
    switch self {
    case .invalid: 400
    case .notFound: 404
    case .queueFull: 429
    case .cancelled: 499
    case .failed: 500
    case .unavailable: 503
    case .deadlinePassed: 504
    case .insufficientMemory: 507
    }
  }
}
