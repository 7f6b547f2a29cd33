import Vocabulary

/// Whether those who were just answered ask again at once, as clients in a closed loop do.
///
/// Without this a batch of eight falls apart: the first client that is back starts alone, the other
/// seven travel behind it, and it stays one and seven for ever. Waiting is free when all come back
/// and a loss when nobody does, so it is measured: the share of the answered that were back within
/// a fraction of the time that one sample takes.
struct ReturnHabit: Sendable {
  /// The part of one sample's time that is waited at the most.
  private static let patience = 0.5
  /// The share that must have been back so far for waiting to be worth it.
  private static let worthwhile = 0.5
  /// The share from which on clients count as a closed loop.
  private static let nearlyAll = 0.8
  private static let learningRate = 0.3

  /// Answered at the last ends of batches, and how many of them are back.
  private var answered = 0
  private var back = 0
  /// Until when those who come count as back.
  private var end = Instant.zero
  private var share = 0.0

  /// Takes note of answers.
  ///
  /// - Parameter sampleSeconds: Seconds of one sample alone; nil when not known yet.
  mutating func answered(_ count: Int, at now: Instant, sampleSeconds: Double?) {
    guard count > 0, let sampleSeconds else { return }
    if now >= end {
      if answered > 0 {
        share += (min(Double(back) / Double(answered), 1) - share) * Self.learningRate
      }
      (answered, back) = (0, 0)
    }
    answered += count
    end = now + .nanoseconds(Int64(sampleSeconds * Self.patience * 1e9))
  }

  /// Takes note of a request that came.
  mutating func arrived(at now: Instant) {
    if now <= end { back += 1 }
  }

  /// Whether nearly all who are answered ask again at once.
  var isClosedLoop: Bool { share >= Self.nearlyAll }

  /// Until when company is worth waiting for; zero when it is not.
  var waitsUntil: Instant {
    share >= Self.worthwhile && Double(back) < Double(answered) * share ? end : .zero
  }
}
