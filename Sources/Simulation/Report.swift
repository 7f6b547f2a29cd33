/// What a simulation measured.
public struct Report: Sendable, Codable {
  /// The policy.
  public var policy: String
  /// Requests that came, were answered and were rejected.
  public var arrived = 0
  /// Requests that were answered.
  public var answered = 0
  /// Requests that were rejected.
  public var rejected = 0
  /// Milliseconds from arrival to answer: mean.
  public var mean = 0.0
  /// Mean of the milliseconds, each weighted with the worth of its model.
  public var weightedMean = 0.0
  /// Median of the milliseconds.
  public var p50 = 0.0
  /// 95th percentile.
  public var p95 = 0.0
  /// 99th percentile.
  public var p99 = 0.0
  /// Milliseconds from the first arrival to the last answer.
  public var makespan = 0.0
  /// Answers per second.
  public var throughput = 0.0
  /// Megabytes (10^6) of weights that came in.
  public var movedMegabytes = 0.0
  /// Fault batches that were served.
  public var faultBatches = 0
  /// The share of the time with unfinished requests in which nothing was computed.
  public var stallShare = 0.0
  /// Mean samples of a batch.
  public var meanBatch = 0.0
  /// Megabytes (10^6) of memory at the highest moment.
  public var peakMegabytes = 0.0
  /// Mean over what no policy can undercut; 0 when no bound was computed.
  public var meanOverBound = 0.0
  /// Makespan over what no policy can undercut; 0 when no bound was computed.
  public var makespanOverBound = 0.0
  /// Requests that were still without an answer when nothing more happened.
  public var unfinished = 0
  /// Invariants that did not hold, the first few.
  public var violations: [String] = []

  enum CodingKeys: String, CodingKey {
    case policy, arrived, answered, rejected, p50, p95, p99, throughput, unfinished, violations
    case mean = "mean_ms"
    case weightedMean = "weighted_mean_ms"
    case makespan = "makespan_ms"
    case movedMegabytes = "moved_mb"
    case faultBatches = "fault_batches"
    case stallShare = "stall_share"
    case meanBatch = "mean_batch"
    case peakMegabytes = "peak_mb"
    case meanOverBound = "mean_over_bound"
    case makespanOverBound = "makespan_over_bound"
  }

  init(policy: String) { self.policy = policy }

  /// Fills in the statistics of latencies in seconds.
  mutating func summarise(_ latencies: [(seconds: Double, weight: Double)]) {
    guard !latencies.isEmpty else { return }
    let sorted = latencies.map(\.seconds).sorted()
    func quantile(_ share: Double) -> Double {
      let rank = Int((share * Double(sorted.count)).rounded(.up)) - 1
      return sorted[min(max(rank, 0), sorted.count - 1)] * 1e3
    }
    mean = sorted.reduce(0, +) / Double(sorted.count) * 1e3
    let worth = latencies.reduce(0) { $0 + $1.weight }
    weightedMean = latencies.reduce(0) { $0 + $1.seconds * $1.weight } / max(worth, 1e-9) * 1e3
    (p50, p95, p99) = (quantile(0.5), quantile(0.95), quantile(0.99))
  }
}
