import Scheduling
import Vocabulary

/// The machinery that the baselines share: queues, batches, cohorts; `BaselineRules` tell them
/// apart.
///
/// It knows what the papers' systems know, no more: of memory it sees only what it manages itself.
struct Baseline: Policy {
  /// A request that waits, or travels with the end of its samples.
  struct Waiting: Sendable {
    var request: QueuedRequest
    var arrived: Double
    var end = 0
  }

  /// A model with its queue.
  struct Model: Sendable {
    var profile: ModelProfile
    var queue: [Waiting] = []
    var isGone = false
    /// Seconds of one sample alone.
    var alone: Double
    var lastRun = -1.0
  }

  /// A batch on its way; late arrivals are cohorts on top.
  struct Live: Sendable {
    var id: BatchID
    var model: Int
    var members: [Waiting]
    var samples: Int
    var answered = 0
    var cohorts: [(samples: Range<Int>, layer: Int)]
    var run: RunID?
    var top: (samples: Range<Int>, layer: Int) { cohorts[cohorts.count - 1] }
  }

  let rules: BaselineRules
  let units: Int
  let device: DeviceProfile
  var models: [Model] = []
  var live: [Live] = []
  var runs: [(id: RunID, batch: BatchID, layers: Range<Int>, units: Int, partition: Int)] = []
  var nextID: UInt64 = 0
  var turn = 0
  var weights: ManagedWeights

  init(_ rules: BaselineRules, _ workload: Workload) {
    self.rules = rules
    units = workload.device.units
    device = workload.device
    weights = ManagedWeights(budget: workload.budget.bytes, page: workload.device.page.bytes)
  }

  mutating func step(_ event: Event, at now: Instant, into plan: inout Plan) {
    plan.removeAll()
    let moment = Double(now.nanoseconds) / 1e9
    note(event, at: moment, &plan)
    expire(at: now, &plan)
    var started = true
    while started { started = startOne(at: moment, &plan) }
    plan.wakeAt = nextMoment(after: moment)
  }

  // MARK: Events

  private mutating func note(_ event: Event, at now: Double, _ plan: inout Plan) {
    switch event {
    case .modelAdded(_, let profile):
      models.append(
        Model(
          profile: profile,
          alone: BaselineRules.seconds(profile, batch: 1, units: units)))
      weights.add(profile)
    case .modelRemoved(let id):
      models[id.index].isGone = true
      rejectQueue(id.index, .modelRemoved, &plan) { _ in true }
    case .arrived(let request): admit(request, at: now, &plan)
    case .cancelled(let id):
      for model in models.indices { rejectQueue(model, .cancelled, &plan) { $0.id == id } }
    case .runFinished(let id, _): finish(id, at: now, &plan)
    case .runFailed(let id):
      guard let place = runs.firstIndex(where: { $0.id == id }) else { return }
      lose(batch: runs.remove(at: place).batch, &plan)
    case .pagedIn(let id, _): weights.land(id)
    case .pageInFailed(let id):
      guard let model = weights.miss(id) else { return }
      for batch in live where batch.model == model && batch.run == nil {
        lose(batch: batch.id, &plan)
      }
    case .budgetChanged(let bytes): weights.budget = bytes.bytes
    case .tick: break
    }
  }

  private mutating func admit(_ request: QueuedRequest, at now: Double, _ plan: inout Plan) {
    let model = models[request.model.index]
    let reason: Rejection.Reason? =
      model.isGone
      ? .modelRemoved
      : request.samples > model.profile.maximumBatch
        ? .tooManySamples(maximum: model.profile.maximumBatch)
        : model.queue.count >= model.profile.queueLimit
          ? .queueFull(retryAfter: .seconds(1)) : nil
    guard let reason else {
      models[request.model.index].queue.append(Waiting(request: request, arrived: now))
      return
    }
    plan.rejections.append(Rejection(request: request.id, reason: reason))
  }

  private mutating func rejectQueue(
    _ model: Int, _ reason: Rejection.Reason, _ plan: inout Plan,
    where leaves: (QueuedRequest) -> Bool
  ) {
    models[model].queue.removeAll { waiting in
      guard leaves(waiting.request) else { return false }
      plan.rejections.append(Rejection(request: waiting.request.id, reason: reason))
      return true
    }
  }

  private mutating func expire(at now: Instant, _ plan: inout Plan) {
    for model in models.indices where !models[model].queue.isEmpty {
      rejectQueue(model, .deadlinePassed, &plan) { $0.deadline.map { $0 <= now } ?? false }
    }
  }

  private mutating func lose(batch id: BatchID, _ plan: inout Plan) {
    guard let index = live.firstIndex(where: { $0.id == id }) else { return }
    for member in live[index].members[live[index].answered...] {
      plan.rejections.append(Rejection(request: member.request.id, reason: .failed))
    }
    plan.completions.append(id)
    live.remove(at: index)
  }

  private mutating func finish(_ id: RunID, at now: Double, _ plan: inout Plan) {
    guard let place = runs.firstIndex(where: { $0.id == id }) else { return }
    let run = runs.remove(at: place)
    guard let index = live.firstIndex(where: { $0.id == run.batch }) else { return }
    live[index].run = nil
    let model = live[index].model
    models[model].lastRun = now
    for layer in run.layers { weights.used(model, layer) }
    var cohort = live[index].cohorts.removeLast()
    cohort.layer = run.layers.upperBound
    if case .stream = rules.memory { weights.drop(model, run.layers, &plan) }
    if cohort.layer < models[model].profile.layers.count {
      if let below = live[index].cohorts.last, below.layer == cohort.layer {
        cohort.samples = below.samples.lowerBound..<cohort.samples.upperBound
        live[index].cohorts.removeLast()
      }
      live[index].cohorts.append(cohort)
      return
    }
    for member in live[index].members[live[index].answered...]
    where member.end <= cohort.samples.upperBound {
      plan.answers.append(member.request.id)
      live[index].answered += 1
    }
    if live[index].cohorts.isEmpty {
      plan.completions.append(run.batch)
      live.remove(at: index)
    }
  }

  // MARK: Batches

  /// The requests that would travel now, or none when they had better wait.
  func batchSize(_ model: Int, room: Int = .max, at now: Double) -> Int {
    let queue = models[model].queue
    guard let first = queue.first else { return 0 }
    let profile = models[model].profile
    var (most, limit) = (min(profile.maximumBatch, room), Int.max)
    var delay = profile.maximumQueueDelay.inSeconds
    switch rules.batch {
    case .single: limit = 1
    case .fixed(let requests, let seconds): (limit, delay) = (requests, seconds)
    case .dynamic: break
    case .atMost(let samples): most = min(most, samples[model])
    }
    var (count, samples) = (0, 0)
    var isFull = false
    for waiting in queue {
      guard count < limit, samples + waiting.request.samples <= max(most, first.request.samples),
        waiting.request.shapeClass == first.request.shapeClass
      else {
        isFull = true
        break
      }
      count += 1
      samples += waiting.request.samples
    }
    let isRipe = first.arrived + delay <= now + 1e-9
    return isFull || isRipe || count == limit || samples >= most ? count : 0
  }

  mutating func form(_ model: Int, count: Int, _ plan: inout Plan) -> Int {
    nextID += 1
    let id = BatchID(nextID)
    live.append(
      Live(id: id, model: model, members: [], samples: 0, cohorts: []))
    enter(live.count - 1, count: count, .idle, &plan)
    return live.count - 1
  }

  /// Puts the first requests of a queue into a batch, as a cohort that begins at the first layer.
  mutating func enter(
    _ index: Int, count: Int, _ reason: Batch.Reason, _ plan: inout Plan
  ) {
    let model = live[index].model
    let start = live[index].samples
    let first = plan.members.count
    for place in 0..<count {
      var waiting = models[model].queue[place]
      live[index].samples += waiting.request.samples
      waiting.end = live[index].samples
      live[index].members.append(waiting)
      plan.members.append(waiting.request.id)
    }
    models[model].queue.removeFirst(count)
    live[index].cohorts.append((start..<live[index].samples, 0))
    plan.batches.append(
      Batch(
        id: live[index].id, model: ModelID(Int32(model)),
        requests: first..<plan.members.count, samples: start..<live[index].samples,
        capacity: models[model].profile.maximumBatch, reason: reason))
  }

  private func nextMoment(after now: Double) -> Instant? {
    var moment = Double.infinity
    for model in models {
      for waiting in model.queue {
        if let deadline = waiting.request.deadline {
          moment = min(moment, Double(deadline.nanoseconds) / 1e9)
        }
      }
      guard let first = model.queue.first else { continue }
      var delay = model.profile.maximumQueueDelay.inSeconds
      if case .fixed(_, let seconds) = rules.batch { delay = seconds }
      if first.arrived + delay > now + 1e-9 { moment = min(moment, first.arrived + delay) }
    }
    guard moment < .infinity else { return nil }
    return Instant(nanoseconds: Int64((max(moment, now) * 1e9).rounded(.up)))
  }
}
