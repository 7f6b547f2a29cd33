/// When the requests of one model come.
public struct Arrivals: Sendable, Codable {
  /// The processes that are known.
  public enum Process: String, Sendable, Codable, CaseIterable {
    /// All at once at the start: `count` requests.
    case burst
    /// One every 1/rate seconds, each moved by up to `jitter` of that, as sensors send them.
    case periodic
    /// Independent of one another: exponential gaps.
    case poisson
    /// Gamma gaps with the coefficient of variation `cv`: bursty above 1.
    case gamma
    /// Poisson whose rate changes between `rate × low` and `rate × high` (a two-state MMPP).
    case mmpp
    /// Poisson whose rate follows `envelope`, one number per `period / envelope.count` seconds.
    case envelope
    /// The seconds in `times`, read from a trace.
    case trace
  }

  /// The process.
  public var process: Process
  /// Mean requests per second.
  public var rate: Double?
  /// Requests; with a process that has a rate, the most of them.
  public var count: Int?
  /// Samples of a request: each is drawn from these with equal chances; 1 when absent.
  public var samples: [Int]?
  /// See `periodic`; 0 to 1.
  public var jitter: Double?
  /// See `gamma`.
  public var cv: Double?
  /// See `mmpp`: factors of the rate in the quiet and the busy state.
  public var low: Double?
  /// See `low`.
  public var high: Double?
  /// Mean seconds in the quiet and the busy state.
  public var dwell: [Double]?
  /// Requests per second, step by step; scaled to the mean `rate` when that is given.
  public var envelope: [Double]?
  /// Seconds that the envelope spans.
  public var period: Double?
  /// See `trace`.
  public var times: [Double]?
  /// Milliseconds until an answer is of no more use.
  public var deadlineMilliseconds: Double?

  enum CodingKeys: String, CodingKey {
    case process, rate, count, samples, jitter, cv, low, high, dwell, envelope, period, times
    case deadlineMilliseconds = "deadline_ms"
  }

  /// A process with a mean rate.
  public init(_ process: Process, rate: Double? = nil, count: Int? = nil, samples: [Int]? = nil) {
    self.process = process
    self.rate = rate
    self.count = count
    self.samples = samples
  }

  /// The seconds at which requests come, ascending, before `end`.
  func moments(until end: Double, random: inout RandomSource) -> [Double] {
    let most = count ?? .max
    let mean = 1 / max(rate ?? 1, 1e-9)
    switch process {
    case .burst: return Array(repeating: 0, count: count ?? 1)
    case .trace: return (times ?? []).filter { $0 < end }.sorted()
    case .periodic:
      let offset = random.uniform() * mean
      return steps(until: end, most) { index in offset + Double(index) * mean }
        .map { max($0 + (random.uniform() - 0.5) * mean * (jitter ?? 0), 0) }.sorted()
    case .poisson:
      return sums(until: end, most) { random.exponential(mean: mean) }
    case .gamma:
      let shape = 1 / max((cv ?? 1) * (cv ?? 1), 1e-6)
      return sums(until: end, most) { random.gamma(shape: shape, mean: mean) }
    case .mmpp: return modulated(until: end, most, mean: mean, random: &random)
    case .envelope: return enveloped(until: end, most, random: &random)
    }
  }

  private func steps(until end: Double, _ most: Int, _ moment: (Int) -> Double) -> [Double] {
    var moments: [Double] = []
    while moments.count < most, moment(moments.count) < end {
      moments.append(moment(moments.count))
    }
    return moments
  }

  private func sums(until end: Double, _ most: Int, _ gap: () -> Double) -> [Double] {
    var (moments, now): ([Double], Double) = ([], gap())
    while now < end, moments.count < most {
      moments.append(now)
      now += gap()
    }
    return moments
  }

  private func modulated(
    until end: Double, _ most: Int, mean: Double, random: inout RandomSource
  ) -> [Double] {
    let factors = [low ?? 0.25, high ?? 4]
    let dwells = dwell ?? [4, 1]
    var (moments, now, state): ([Double], Double, Int) = ([], 0, 0)
    var change = random.exponential(mean: dwells[0])
    while now < end, moments.count < most {
      let gap = random.exponential(mean: mean / max(factors[state], 1e-9))
      // Without memory: what is left of a gap when the state changes is drawn anew.
      if now + gap > change {
        now = change
        state = 1 - state
        change += random.exponential(mean: dwells[state])
      } else {
        now += gap
        if now < end { moments.append(now) }
      }
    }
    return moments
  }

  /// Thinning (Lewis and Shedler 1979): as many as at the highest rate, each kept with its share.
  private func enveloped(
    until end: Double, _ most: Int, random: inout RandomSource
  ) -> [Double] {
    let shape = envelope ?? [1]
    let average = shape.reduce(0, +) / Double(max(shape.count, 1))
    let scale = rate.map { $0 / max(average, 1e-9) } ?? 1
    let highest = max((shape.max() ?? 1) * scale, 1e-9)
    let span = period ?? end
    var (moments, now): ([Double], Double) = ([], 0)
    while moments.count < most {
      now += random.exponential(mean: 1 / highest)
      guard now < end else { break }
      let place = (now / span).truncatingRemainder(dividingBy: 1) * Double(shape.count)
      if random.uniform() * highest < shape[min(Int(place), shape.count - 1)] * scale {
        moments.append(now)
      }
    }
    return moments
  }
}
