import Vocabulary

/// What of a model's summary nearly always decides that others go first: small enough for those of
/// a thousand models to stay in the nearest cache.
struct Rank: Sendable {
  var gain = 0.0
  var oldest = Instant.distantFuture
  var priority = 0
  var canBegin = true
  /// Whether gain and age alone decide: its times are known, and nobody has a deadline.
  var isPlain = false

  init() {}

  init(_ summary: ModelState.Summary) {
    gain = summary.gain
    oldest = summary.oldest
    priority = summary.priority
    canBegin = summary.canBegin
    isPlain = summary.seconds > 0 && summary.earliestDeadline == .distantFuture
  }
}

/// What somebody without urgency has to be better than to count.
struct Bar {
  private var priority = Int.max
  private var value = -Double.infinity

  /// Raises the bar to a candidate.
  mutating func rise(to candidate: Candidate?) {
    guard let candidate else { return }
    priority = candidate.priority
    value = candidate.urgency < .distantFuture ? .infinity : candidate.value
  }

  /// Whether a value of a priority does not precede the candidate.
  func isAbove(_ priority: Int, _ value: Double) -> Bool {
    priority > self.priority || priority == self.priority && value <= self.value
  }
}
