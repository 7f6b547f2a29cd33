public import Vocabulary

/// A way of making plans: the server, the simulator and the evaluation drive all of them alike.
///
/// A policy is a value without clock, threads or randomness: same events, same plans. Every
/// admitted request ends exactly once, as an answer or as a rejection.
public protocol Policy: Sendable {
  /// Takes one event and says what to do now.
  ///
  /// - Parameter plan: Emptied first; handing in the same plan again saves its allocation.
  mutating func step(_ event: Event, at now: Instant, into plan: inout Plan)

  /// Says what would become of a batch now; nil where the policy cannot say.
  func forecast(_ model: ModelID, samples: Int) -> Forecast?
}

extension Policy {
  /// Nothing, for policies that do not plan ahead.
  public func forecast(_ model: ModelID, samples: Int) -> Forecast? { nil }

  /// Takes one event and says what to do now.
  public mutating func step(_ event: Event, at now: Instant) -> Plan {
    var plan = Plan()
    step(event, at: now, into: &plan)
    return plan
  }
}
