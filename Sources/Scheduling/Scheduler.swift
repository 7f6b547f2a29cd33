public import Vocabulary

/// Decides what runs next.
///
/// A value without clock, threads or randomness: the same events at the same
/// moments give the same plans, in the server as in the simulator.
public struct Scheduler: Policy {
  /// What the scheduler may use.
  public struct Configuration: Sendable {
    /// Compute units of the device.
    public var units: Int
    /// Runs that may be under way at once; each gets its part of the units.
    public var concurrentRuns: Int

    /// What the scheduler may use.
    public init(units: Int, concurrentRuns: Int = 1) {
      self.units = max(units, 1)
      self.concurrentRuns = max(min(concurrentRuns, units), 1)
    }
  }

  /// A model with what waits for it.
  struct Model: Sendable {
    var profile: ModelProfile
    var queue = RequestQueue()
    /// Measured time per sample, smoothed; nil before the first run.
    var timePerSample: Duration?
  }

  /// A run that was handed out.
  struct Running: Sendable {
    var run: RunID
    var batch: Batch
    var requests: [RequestID]
  }

  let configuration: Configuration
  var models: [Model?] = []
  /// Models whose queues are not empty, in order of their identifiers.
  var waiting: [ModelID] = []
  var running: [Running] = []
  private var places: [RequestID: ModelID] = [:]
  private var nextBatch: UInt64 = 0
  private var nextRun: UInt64 = 0
  /// Kept between steps so that a step in the steady state allocates nothing for it.
  private var taken: [RequestQueue.Entry] = []

  /// A scheduler without models.
  public init(_ configuration: Configuration) { self.configuration = configuration }

  /// Takes note of what happened and says what to do next.
  public mutating func step(_ event: Event, at now: Instant, into plan: inout Plan) {
    plan.removeAll()
    note(event, at: now, &plan)
    rejectLate(at: now, &plan)
    startRuns(at: now, &plan)
    plan.wakeAt = nextMoment(after: now)
  }

  /// Requests that wait for a model.
  public func queuedRequests(_ model: ModelID) -> Int {
    models.indices.contains(model.index) ? models[model.index]?.queue.count ?? 0 : 0
  }

  // MARK: Events

  private mutating func note(_ event: Event, at now: Instant, _ plan: inout Plan) {
    switch event {
    case .modelAdded(let id, let profile): add(id, profile)
    case .modelRemoved(let id): remove(id, &plan)
    case .arrived(let request): admit(request, at: now, &plan)
    case .cancelled(let id): cancel(id, &plan)
    case .runFinished(let id, let took): finish(id, took: took, &plan)
    case .runFailed(let id): fail(id, &plan)
    case .pagedIn, .pageInFailed, .budgetChanged, .tick: break
    }
  }

  private mutating func add(_ id: ModelID, _ profile: ModelProfile) {
    while models.count <= id.index { models.append(nil) }
    models[id.index] = Model(profile: profile)
  }

  private mutating func remove(_ id: ModelID, _ plan: inout Plan) {
    guard models.indices.contains(id.index), models[id.index] != nil else { return }
    reject(from: id, reason: .modelRemoved, &plan) { _ in true }
    models[id.index] = nil
  }

  private mutating func admit(_ request: QueuedRequest, at now: Instant, _ plan: inout Plan) {
    func refuse(_ reason: Rejection.Reason) {
      plan.rejections.append(Rejection(request: request.id, reason: reason))
    }
    guard models.indices.contains(request.model.index),
      let model = models[request.model.index]
    else { return refuse(.modelRemoved) }
    guard model.profile.maximumBatch == 1 || request.samples <= model.profile.maximumBatch else {
      return refuse(.tooManySamples(maximum: model.profile.maximumBatch))
    }
    guard model.queue.count < model.profile.queueLimit else {
      return refuse(.queueFull(retryAfter: expectedWait(model)))
    }
    if model.queue.isEmpty { insertWaiting(request.model) }
    models[request.model.index]?.queue.insert(request, at: now)
    places[request.id] = request.model
  }

  private mutating func cancel(_ id: RequestID, _ plan: inout Plan) {
    guard let model = places[id] else { return }
    reject(from: model, reason: .cancelled, &plan) { $0.id == id }
  }

  private mutating func finish(_ id: RunID, took: Duration, _ plan: inout Plan) {
    guard let place = running.firstIndex(where: { $0.run == id }) else { return }
    let ended = running.remove(at: place)
    let batch = ended.batch
    plan.answers += ended.requests
    plan.completions.append(batch.id)
    let each = took / max(batch.samples.count, 1)
    let old = models[batch.model.index]?.timePerSample
    models[batch.model.index]?.timePerSample = old.map { ($0 * 7 + each) / 8 } ?? each
  }

  private mutating func fail(_ id: RunID, _ plan: inout Plan) {
    guard let place = running.firstIndex(where: { $0.run == id }) else { return }
    let ended = running.remove(at: place)
    plan.completions.append(ended.batch.id)
    for request in ended.requests {
      plan.rejections.append(Rejection(request: request, reason: .failed))
    }
  }

  // MARK: Waiting

  /// How long until a full queue has worked itself off, as far as is known.
  private func expectedWait(_ model: Model) -> Duration {
    guard let each = model.timePerSample else { return .seconds(1) }
    return each * max(model.queue.samples, 1)
  }

  private mutating func insertWaiting(_ id: ModelID) {
    let place = waiting.firstIndex { id < $0 } ?? waiting.endIndex
    waiting.insert(id, at: place)
  }

  /// Takes requests out of a queue and tells why.
  private mutating func reject(
    from id: ModelID, reason: Rejection.Reason, _ plan: inout Plan,
    where leaves: (QueuedRequest) -> Bool
  ) {
    taken.removeAll(keepingCapacity: true)
    models[id.index]?.queue.remove(into: &taken, where: leaves)
    for entry in taken {
      places[entry.request.id] = nil
      plan.rejections.append(Rejection(request: entry.request.id, reason: reason))
    }
    if models[id.index]?.queue.isEmpty ?? true { waiting.removeAll { $0 == id } }
  }

  private mutating func rejectLate(at now: Instant, _ plan: inout Plan) {
    var place = 0
    while place < waiting.count {
      let id = waiting[place]
      if let model = models[id.index], model.queue.earliestDeadline <= now {
        reject(from: id, reason: .deadlinePassed, &plan) {
          $0.deadline.map { $0 <= now } ?? false
        }
      }
      if place < waiting.count, waiting[place] == id { place += 1 }
    }
  }

  // MARK: Starting

  private mutating func startRuns(at now: Instant, _ plan: inout Plan) {
    while running.count < configuration.concurrentRuns, let choice = choose(at: now) {
      start(choice.model, reason: choice.reason, &plan)
    }
  }

  /// The model whose batch is ready and whose first request is most urgent: by priority, then by
  /// arrival.
  private func choose(at now: Instant) -> (model: ModelID, reason: Batch.Reason)? {
    var best: (model: ModelID, reason: Batch.Reason, priority: Int, arrived: Instant)?
    for id in waiting {
      guard let model = models[id.index], let first = model.queue.first,
        let reason = readiness(model, at: now)
      else { continue }
      if let known = best,
        (known.priority, known.arrived) <= (first.request.priority, first.arrived)
      {
        continue
      }
      best = (id, reason, first.request.priority, first.arrived)
    }
    return best.map { ($0.model, $0.reason) }
  }

  /// Why the next batch of a model should be closed now, or nil when it should wait for company.
  private func readiness(_ model: Model, at now: Instant) -> Batch.Reason? {
    if model.queue.batchPreview(maximum: model.profile.maximumBatch).isFull { return .full }
    guard model.profile.maximumQueueDelay > .zero else { return .idle }
    if model.queue.earliestArrival + model.profile.maximumQueueDelay <= now { return .delay }
    return latestStart(model) <= now ? .deadline : nil
  }

  /// When the next batch must start so that its earliest deadline can be held.
  private func latestStart(_ model: Model) -> Instant {
    let deadline = model.queue.earliestDeadline
    guard deadline < .distantFuture, let each = model.timePerSample else { return deadline }
    let samples = model.queue.batchPreview(maximum: model.profile.maximumBatch).samples
    return Instant(nanoseconds: deadline.nanoseconds - (each * samples).wholeNanoseconds)
  }

  private mutating func start(_ id: ModelID, reason: Batch.Reason, _ plan: inout Plan) {
    taken.removeAll(keepingCapacity: true)
    guard let profile = models[id.index]?.profile else { return }
    let largest = max(profile.maximumBatch, models[id.index]?.queue.first?.request.samples ?? 1)
    models[id.index]?.queue.takeBatch(maximum: largest, into: &taken)
    if models[id.index]?.queue.isEmpty ?? true { waiting.removeAll { $0 == id } }
    let samples = taken.reduce(0) { $0 + $1.request.samples }
    for entry in taken { places[entry.request.id] = nil }
    let batch = Batch(
      id: BatchID(nextBatch), model: id,
      requests: plan.members.count..<plan.members.count + taken.count, samples: 0..<samples,
      capacity: samples, reason: reason)
    plan.members += taken.map(\.request.id)
    nextBatch += 1
    let run = Run(
      id: RunID(nextRun), batch: batch.id, model: id, layers: 0..<profile.layers.count,
      samples: 0..<samples, chunk: samples,
      units: configuration.units / configuration.concurrentRuns
    )
    nextRun += 1
    running.append(
      Running(run: run.id, batch: batch, requests: taken.map(\.request.id)))
    plan.batches.append(batch)
    plan.runs.append(run)
  }

  /// When something becomes due although nothing happens.
  private func nextMoment(after now: Instant) -> Instant? {
    var moment = Instant.distantFuture
    for id in waiting {
      guard let model = models[id.index] else { continue }
      moment = min(moment, model.queue.earliestDeadline)
      guard running.count < configuration.concurrentRuns else { continue }
      moment = min(moment, model.queue.earliestArrival + model.profile.maximumQueueDelay)
      moment = min(moment, latestStart(model))
    }
    return moment == .distantFuture ? nil : max(moment, now)
  }
}
