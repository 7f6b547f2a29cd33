import Metrics

/// Counts every answer of the API by its status, those that never reach an engine included.
final class AnswerCounters: Sendable {
  private static let statuses = [
    200, 400, 404, 405, 415, 422, 429, 499, 500, 501, 503, 504, 507,
  ]

  private let counters: [Counter]
  private let other: Counter

  /// Registers a counter for each status that the API gives.
  init(_ registry: Registry) {
    func counter(_ code: String) -> Counter {
      registry.counter(
        "stowage_http_answers_total", "Answers of every endpoint by their status.",
        labels: [("code", code)])
    }
    counters = Self.statuses.map { counter(String($0)) }
    other = counter("other")
  }

  /// Counts one answer.
  func count(_ status: Int) {
    guard let index = Self.statuses.firstIndex(of: status) else { return other.add() }
    counters[index].add()
  }
}
