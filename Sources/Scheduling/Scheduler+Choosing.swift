import Vocabulary

/// Something that could run next: a live batch, or a batch that would be formed of a queue.
struct Candidate: Sendable {
  /// Where it comes from.
  enum Source: Sendable, Equatable {
    /// The index of a live batch.
    case live(Int)
    /// The index of a model with a queue.
    case fresh(Int)
  }

  var source: Source
  var priority: Int
  /// Smaller goes first among equals in priority: starved and urgent ones have moments, others
  /// none.
  var urgency: Instant
  /// Worth per second until it is answered: larger goes first.
  var value: Double
  /// Whether the weights it begins with are resident.
  var canBegin: Bool
  /// Whether it has waited beyond the bound.
  var isStarved: Bool

  /// Whether this one goes before another.
  func precedes(_ other: Candidate) -> Bool {
    if priority != other.priority { return priority < other.priority }
    if urgency != other.urgency { return urgency < other.urgency }
    return value > other.value
  }
}

/// Weights of the order, found by simulation (Benchmarks/Results/scheduling.md); halving or
/// doubling any of them changes mean latencies by less than 10 %.
private enum Tuning {
  /// What a waiting time adds to a value, which then counts squared.
  ///
  /// Plain worth per second starves what is large: with waiting times in it the 99th percentile
  /// halves. The square takes 4 % off the 99th percentile and costs 4 % of the mean.
  static let aging = 16.0
  /// A live batch is overtaken only by what is worth this many times as much per second, because
  /// the weights and activations of both are in memory meanwhile.
  static let persistence = 2.0
  /// Requests that will have come when the backlog is worked off, and all that then waits with
  /// them.
  static let future = 30.0
  /// How much longer than its samples one by one a batch may take to be as fast: a batch is handed
  /// out and answered once.
  static let costOfBatch = 1.05
}

/// What candidates are weighed with at one moment, worked out once for all of them.
private struct Clock {
  let now: Instant
  /// Who has waited since before this goes before all others.
  private let starved: Instant
  /// Whether gain decides, and not arrival.
  private let isOrdered: Bool
  /// What a second of waiting adds to a value: much, once something has waited as long as all
  /// that waits takes.
  private let agingRate: Double

  init(_ now: Instant, _ scheduler: Scheduler) {
    self.now = now
    agingRate = Tuning.aging / max(scheduler.agenda.totalSeconds, 1e-6)
    isOrdered = scheduler.options.features.contains(.order)
    starved = isOrdered ? scheduler.starved(at: now) : .distantFuture
  }

  /// Whether something has waited too long; never where arrival decides, which starves nobody.
  func isStarved(_ oldest: Instant) -> Bool { isOrdered && oldest <= starved }

  /// Whether a model would neither be second nor the best that can begin.
  func isBehind(_ rank: Rank, _ second: Bar, _ fresh: Bar) -> Bool {
    guard rank.isPlain, rank.oldest > starved else { return false }
    let value = rank.gain * aging(since: rank.oldest)
    return second.isAbove(rank.priority, value)
      && (!rank.canBegin || fresh.isAbove(rank.priority, value))
  }

  func aging(since oldest: Instant) -> Double {
    let waited = 1 + agingRate * now.seconds(since: oldest)
    return waited * waited
  }

  /// When a candidate should have begun: its arrival when arrival decides or it has waited too
  /// long, otherwise never.
  func urgency(oldest: Instant, latestStart: Instant) -> Instant {
    if oldest <= starved { return oldest }
    // Deadlines come after those who have waited too long.
    return latestStart <= now
      ? max(latestStart, starved + .nanoseconds(1)) : .distantFuture
  }
}

extension Scheduler {
  /// Looks at everything that could run: fills the agenda and returns the best candidate that can
  /// begin now.
  ///
  /// By Smith's rule the best is the one with the largest worth per second; a batch whose weights
  /// are resident takes less time, so the order favours what is in memory without a rule of its
  /// own.
  mutating func choose(at now: Instant) -> Candidate? {
    let clock = Clock(now, self)
    var (ready, fresh): (Candidate?, Candidate?) = (nil, nil)
    var (first, second): (Candidate?, Candidate?) = (nil, nil)
    var (secondBar, freshBar) = (Bar(), Bar())
    // Who has waited too long, and longest.
    var starved: Candidate?
    orderLive(clock)
    for entry in agenda.live {
      let candidate = entry.candidate
      if candidate.isStarved, starved.map(candidate.precedes) ?? true { starved = candidate }
      if entry.tier > 0, candidate.canBegin, ready.map(candidate.precedes) ?? true,
        !refused.contains(candidate.source)
      {
        ready = candidate
      }
    }
    for model in waiting {
      if clock.isBehind(ranks[model], secondBar, freshBar) { continue }
      guard let candidate = freshCandidate(model, clock) else { continue }
      if first.map(candidate.precedes) ?? true {
        (first, second) = (candidate, first)
        secondBar.rise(to: second)
      } else if second.map(candidate.precedes) ?? true {
        second = candidate
        secondBar.rise(to: second)
      }
      if candidate.canBegin, fresh.map(candidate.precedes) ?? true,
        !refused.contains(candidate.source)
      {
        fresh = candidate
        freshBar.rise(to: fresh)
      }
    }
    if let waits = first, waits.isStarved, starved.map(waits.precedes) ?? true { starved = waits }
    if let better = second, let other = first, hides(better, other) {
      (first, second) = (better, other)
    }
    fillAgenda(first, second)
    // Behind who has waited too long nothing new begins, so that what is live ends and makes room.
    guard let fresh, starved.map({ !$0.precedes(fresh) }) ?? true else { return ready }
    return ready.map(fresh.precedes) ?? true ? fresh : ready
  }

  /// Puts the live batches in the order in which they go on.
  private mutating func orderLive(_ clock: Clock) {
    agenda.live.removeAll(keepingCapacity: true)
    for index in batches.indices {
      let batch = batches[index]
      let need = batch.program.segments[batch.top.segment].need
      let isFree = need + reservedBytes - batch.reserved <= budget ?? .max
      let tier = batch.run != nil ? 0 : isFree ? 1 : 2
      let entry = Agenda.Entry(
        batch: index, candidate: liveCandidate(index, clock), tier: tier)
      let place = agenda.live.firstIndex {
        tier != $0.tier ? tier < $0.tier : entry.candidate.precedes($0.candidate)
      }
      agenda.live.insert(entry, at: place ?? agenda.live.endIndex)
    }
    agenda.liveSeconds = 0
    for place in agenda.live.indices {
      agenda.live[place].start = agenda.liveSeconds
      agenda.liveSeconds += batches[agenda.live[place].batch].remaining
    }
  }

  private func liveCandidate(_ index: Int, _ clock: Clock) -> Candidate {
    let batch = batches[index]
    // Without preemption what has begun goes before everything that has not.
    let isFirst = !options.features.contains(.preemption)
    let worth = batch.worth * Double(batch.members.count - batch.answered)
    let missing = missingBytes(of: batch)
    let seconds = max(batch.remaining, link.seconds(bytes: missing), 1e-9)
    let oldest = batch.oldest
    let urgency =
      isFirst
      ? Instant.zero : clock.urgency(oldest: oldest, latestStart: .distantFuture)
    return Candidate(
      source: .live(index), priority: isFirst ? .min : batch.priority, urgency: urgency,
      value: worth / Double(max(batch.members.count, 1)) * clock.aging(since: oldest)
        * Tuning.persistence
        / seconds,
      canBegin: isResident(batch.model, batch.program.kernels[batch.top.layer]),
      isStarved: clock.isStarved(oldest))
  }

  private func freshCandidate(_ model: Int, _ clock: Clock) -> Candidate? {
    let summary = summaries[model]
    let latest = latestStart(summary)
    let isStarved = clock.isStarved(summary.oldest)
    guard isStarved || summary.isFull || summary.ripe <= clock.now || latest <= clock.now else {
      return nil
    }
    return Candidate(
      source: .fresh(model), priority: summary.priority,
      urgency: summary.seconds == 0
        ? summary.oldest : clock.urgency(oldest: summary.oldest, latestStart: latest),
      value: summary.gain * clock.aging(since: summary.oldest), canBegin: summary.canBegin,
      isStarved: isStarved)
  }

  /// Who came no later than this has waited beyond the bound.
  func starved(at now: Instant) -> Instant {
    Instant(nanoseconds: now.nanoseconds - starvationNanoseconds)
  }

  /// Whether somebody has waited too long, and longer than those who would join a batch of a model:
  /// nobody joins then, so that the batch ends.
  func keepsWaiting(joining model: Int, at now: Instant) -> Bool {
    guard options.features.contains(.order) else { return false }
    let bound = min(starved(at: now), models[model].queue.earliestArrival)
    return waiting.contains { $0 != model && summaries[$0].oldest <= bound }
      || batches.contains { $0.oldest <= bound }
  }

  /// Why the next batch of a model is closed now.
  func reason(_ model: Int, requests: Int, at now: Instant) -> Batch.Reason {
    let summary = summaries[model]
    if summary.isFull, requests == summary.requests {
      let profile = models[model].profile
      return models[model].largestBatch < profile.maximumBatch ? .memory : .full
    }
    guard models[model].profile.maximumQueueDelay > .zero else { return .idle }
    return summary.ripe <= now ? .delay : .deadline
  }

  /// How many of the waiting requests of a model go together in its next batch.
  mutating func groupSize(_ model: Int, at now: Instant) -> Int {
    let summary = summaries[model]
    guard options.features.contains(.groups), models[model].costs.isKnown, summary.requests > 1
    else { return summary.requests }
    let each = max(Double(summary.samples) / Double(summary.requests), 1)
    if isFastestTogether(model) { return summary.requests }
    var others = 0.0
    let weight = max(models[model].profile.weight, 1e-9)
    for other in waiting where other != model { others += summaries[other].worth / weight }
    let queued = models[model].queue.count
    let resident = budget == nil ? Int.max : usefulBytes(model)
    var scratch: [Double] = []
    swap(&scratch, &groupScratch)
    // Who comes while all this is worked off waits for it too, so extra work costs more under load.
    others += Tuning.future * arrivalRate(at: now) * agenda.totalSeconds / weight
    let size = Grouping.first(
      waiting: queued, others: others, largest: summary.requests, scratch: &scratch
    ) { size in
      let estimate = estimate(model, samples: Int((Double(size) * each).rounded(.up)))
      let missing = resident == .max ? 0 : max(estimate.pageIns - resident, 0)
      return max(estimate.seconds, link.seconds(bytes: missing))
    }
    swap(&scratch, &groupScratch)
    return size
  }

  /// Whether the clients of a model make a closed loop that turns fastest when all travel together.
  ///
  /// By Little's law the response time of a closed loop is its clients over their throughput: a
  /// small group that is answered sooner gains nothing, because it comes back behind the others.
  private mutating func isFastestTogether(_ model: Int) -> Bool {
    guard models[model].habit.isClosedLoop else { return false }
    let samples = summaries[model].samples
    let together = estimate(model, samples: samples).seconds
    return together <= estimate(model, samples: 1).seconds * Double(samples) * Tuning.costOfBatch
  }

  /// Requests per second of all models; it falls as long as none comes.
  private func arrivalRate(at now: Instant) -> Double {
    guard let lastArrival, meanGap > 0 else { return 0 }
    return 1 / max(meanGap, now.seconds(since: lastArrival), 1e-9)
  }

  mutating func noteArrival(at now: Instant) {
    if let lastArrival {
      let gap = now.seconds(since: lastArrival)
      meanGap += (gap - meanGap) * (meanGap > 0 ? 0.05 : 1)
    }
    lastArrival = now
  }

  /// The time and page-ins of some samples of a model, between the programs that are at hand.
  mutating func estimate(_ model: Int, samples: Int) -> (seconds: Double, pageIns: Int) {
    let limit = models[model].programs.count - 1
    guard models[model].costs.isKnown, samples > 0, limit > 0 else {
      return ((models[model].costs.secondsPerSample ?? 0) * Double(samples), totalWeights(model))
    }
    var low = 1
    while low * 2 <= min(samples, limit) { low *= 2 }
    let high = min(low * 2, max(models[model].largestBatch, 1), limit)
    let first = program(model, samples: low)
    guard high > low, samples > low else {
      let scale = Double(samples) / Double(low)
      return ((first?.seconds ?? 0) * max(scale, 1), first?.pageIns ?? 0)
    }
    let second = program(model, samples: high)
    let share = Double(samples - low) / Double(high - low)
    let (from, to) = (first?.seconds ?? 0, second?.seconds ?? 0)
    let (few, many) = (first?.pageIns ?? 0, second?.pageIns ?? 0)
    return (from + (to - from) * share, few + Int(Double(many - few) * share))
  }
}
