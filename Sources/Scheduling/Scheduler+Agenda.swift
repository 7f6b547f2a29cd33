import Vocabulary

/// What comes next, as far as it is decided: the order in which weights will be needed.
struct Agenda: Sendable {
  /// A live batch with the seconds until it goes on.
  struct Entry: Sendable {
    var batch: Int
    var candidate: Candidate
    /// 0 runs, 1 can go on, 2 waits until others have given memory back.
    var tier: Int
    var start = 0.0
  }

  /// The live batches in the order in which they go on.
  var live: [Entry] = []
  /// The waiting models whose batches would be formed next, best first.
  var models: [Int] = []
  /// Seconds until the live batches are through.
  var liveSeconds = 0.0
  /// Seconds until the models of the agenda are through as well.
  var totalSeconds = 0.0
}

extension Scheduler {
  /// Puts the two best waiting models behind the live batches.
  mutating func fillAgenda(_ first: Candidate?, _ second: Candidate?) {
    agenda.models.removeAll(keepingCapacity: true)
    agenda.totalSeconds = agenda.liveSeconds
    for candidate in [first, second] {
      guard case .fresh(let model)? = candidate?.source else { continue }
      agenda.models.append(model)
      agenda.totalSeconds += serviceSeconds(summaries[model])
    }
  }

  /// Whether everybody is answered sooner when the second-best goes before the best, because both
  /// have to come in and its computing hides the page-in of the other.
  ///
  /// Johnson's rule for a flow shop of two machines (Naval Research Logistics Quarterly 1, 1954),
  /// first the link and then the units, for two jobs and their weighted completions: a job that
  /// computes while it comes in is through when both are.
  func hides(_ second: Candidate, _ first: Candidate) -> Bool {
    guard options.features.isSuperset(of: [.order, .prefetch]),
      case .fresh(let other) = second.source, case .fresh(let best) = first.source,
      second.priority == first.priority, second.urgency == first.urgency,
      summaries[other].missing > 0, summaries[best].missing > 0
    else { return false }
    var before = 0
    for batch in batches { before += missingBytes(of: batch) }
    let linkFree = link.seconds(bytes: before)
    func completions(_ one: (Int, Candidate), _ two: (Int, Candidate)) -> Double {
      let (early, late) = (summaries[one.0], summaries[two.0])
      let came = linkFree + link.seconds(bytes: early.missing)
      let first = max(agenda.liveSeconds + early.seconds, came)
      let second = max(first + late.seconds, came + link.seconds(bytes: late.missing))
      return one.1.value * serviceSeconds(early) * first
        + two.1.value * serviceSeconds(late) * second
    }
    return completions((other, second), (best, first))
      < completions((best, first), (other, second)) * (1 - 1e-9)
  }
}
