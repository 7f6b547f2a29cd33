import Vocabulary

extension Scheduler {
  mutating func add(_ id: ModelID, _ profile: ModelProfile) {
    var profile = profile
    profile.maximumBatch = max(profile.maximumBatch, 1)
    if !options.features.contains(.kernels) {
      for layer in profile.layers.indices { profile.layers[layer].alternatives = [] }
    }
    while models.count <= id.index {
      models.append(ModelState(profile, pageBytes: 1))
      summaries.append(ModelState.Summary())
      ranks.append(Rank())
    }
    var state = ModelState(profile, pageBytes: max(options.pageBytes.bytes, 1))
    state.exists = true
    models[id.index] = state
    settleKernels()
    models[id.index].largestBatch = largestBatch(id.index)
    let single = estimate(id.index, samples: 1)
    models[id.index].singleSeconds = single.seconds
    models[id.index].lonelySeconds = max(single.seconds, link.seconds(bytes: single.pageIns))
  }

  mutating func remove(_ id: ModelID, _ plan: inout Plan) {
    guard models.indices.contains(id.index), models[id.index].exists else { return }
    reject(from: id.index, reason: .modelRemoved, &plan) { _ in true }
    if models[id.index].live > 0 {
      models[id.index].isLeaving = true
    } else {
      leave(id.index, &plan)
    }
  }

  /// Forgets a model that nothing runs of any more.
  mutating func leave(_ model: Int, _ plan: inout Plan) {
    models[model].exists = false
    models[model].isLeaving = false
    for kernel in models[model].kernels.all { evict(model, kernel, keeping: 0, &plan) }
    settleKernels()
  }

  mutating func admit(_ request: QueuedRequest, at now: Instant, _ plan: inout Plan) {
    let model = request.model.index
    if let reason = refusal(request) {
      plan.rejections.append(Rejection(request: request.id, reason: reason))
      return
    }
    models[model].noteArrival(at: now)
    noteArrival(at: now)
    enqueue(request, at: now)
    refresh(model)
  }

  /// Puts a request into its model's queue, at its place by priority and arrival.
  mutating func enqueue(_ request: QueuedRequest, at arrived: Instant) {
    let model = request.model.index
    if models[model].queue.isEmpty { insertWaiting(model) }
    models[model].queue.insert(request, at: arrived)
    earliestDeadline = min(earliestDeadline, request.deadline ?? .distantFuture)
    places[request.id] = request.model
  }

  private func refusal(_ request: QueuedRequest) -> Rejection.Reason? {
    let model = request.model.index
    guard models.indices.contains(model), models[model].exists, !models[model].isLeaving else {
      return .modelRemoved
    }
    // A model whose samples are not independent takes its one request whole, however large.
    let profile = models[model].profile
    let units = profile.maximumBatch == 1 ? 1 : request.samples
    guard units <= profile.maximumBatch else {
      return .tooManySamples(maximum: profile.maximumBatch)
    }
    guard units <= models[model].largestBatch else {
      return .insufficientMemory(needed: ByteCount(memoryNeeded(model, samples: units)))
    }
    guard models[model].queue.count < profile.queueLimit else {
      return .queueFull(retryAfter: expectedWait(model))
    }
    return nil
  }

  mutating func cancel(_ id: RequestID, _ plan: inout Plan) {
    guard let model = places[id] else { return }
    reject(from: model.index, reason: .cancelled, &plan) { $0.id == id }
  }

  /// How long until a full queue has worked itself off, as far as is known.
  private func expectedWait(_ model: Int) -> Duration {
    let samples = max(models[model].queue.samples, 1)
    guard let each = models[model].costs.secondsPerSample else { return .seconds(1) }
    return .nanoseconds(Int64(each * Double(samples) * 1e9))
  }

  private mutating func insertWaiting(_ model: Int) {
    let place = waiting.firstIndex { model < $0 } ?? waiting.endIndex
    waiting.insert(model, at: place)
  }

  /// Takes requests out of a queue and tells why.
  mutating func reject(
    from model: Int, reason: Rejection.Reason, _ plan: inout Plan,
    where leaves: (QueuedRequest) -> Bool
  ) {
    taken.removeAll(keepingCapacity: true)
    models[model].queue.remove(into: &taken, where: leaves)
    for entry in taken {
      places[entry.request.id] = nil
      plan.rejections.append(Rejection(request: entry.request.id, reason: reason))
    }
    if models[model].queue.isEmpty { waiting.removeAll { $0 == model } }
    refresh(model)
  }

  mutating func rejectLate(at now: Instant, _ plan: inout Plan) {
    guard earliestDeadline <= now else { return }
    var place = 0
    while place < waiting.count {
      let model = waiting[place]
      if summaries[model].earliestDeadline <= now {
        reject(from: model, reason: .deadlinePassed, &plan) {
          $0.deadline.map { $0 <= now } ?? false
        }
      }
      if place < waiting.count, waiting[place] == model { place += 1 }
    }
    earliestDeadline = .distantFuture
    for model in waiting {
      earliestDeadline = min(earliestDeadline, summaries[model].earliestDeadline)
    }
  }

  /// Brings the summary of a model up to date after its queue, memory or costs have changed.
  mutating func refresh(_ model: Int) {
    guard let first = models[model].queue.first else {
      summaries[model] = ModelState.Summary()
      ranks[model] = Rank()
      return
    }
    let preview = models[model].queue.batchPreview(maximum: batchLimit(model))
    var summary = ModelState.Summary()
    summary.requests = preview.requests
    summary.samples = preview.samples
    summary.isFull = preview.isFull
    summary.priority = first.request.priority
    summary.oldest = models[model].queue.earliestArrival
    summary.earliestDeadline = models[model].queue.earliestDeadline
    summary.ripe = max(
      summary.oldest + models[model].profile.maximumQueueDelay, models[model].habit.waitsUntil)
    summary.worth = Double(preview.requests) * models[model].profile.weight
    let estimate = estimate(model, samples: preview.samples)
    summary.seconds = estimate.seconds
    models[model].upcoming = models[model].profile.maximumBatch > 1 ? preview.samples : 1
    if !models[model].kernels.isSingle { _ = program(model, samples: models[model].upcoming) }
    summary.missing = budget == nil ? 0 : max(estimate.pageIns - usefulBytes(model), 0)
    summary.canBegin = isResident(model, models[model].upcomingKernels[0])
    summary.gain = summary.worth / max(serviceSeconds(summary), 1e-9)
    summaries[model] = summary
    ranks[model] = Rank(summary)
  }

  /// The most samples of one batch of the model now.
  func batchLimit(_ model: Int) -> Int {
    let profile = models[model].profile
    guard profile.maximumBatch > 1 else {
      return max(models[model].queue.first?.request.samples ?? 1, 1)
    }
    return min(profile.maximumBatch, models[model].largestBatch)
  }

  /// When the next batch must start so that its earliest deadline can be held.
  func latestStart(_ summary: ModelState.Summary) -> Instant {
    guard summary.earliestDeadline < .distantFuture, summary.seconds > 0 else {
      return summary.earliestDeadline
    }
    let needed = serviceSeconds(summary)
    return Instant(nanoseconds: summary.earliestDeadline.nanoseconds - Int64(needed * 1e9))
  }

  /// Seconds from start to answers of the batch that would be formed now.
  func serviceSeconds(_ summary: ModelState.Summary) -> Double {
    max(summary.seconds, link.seconds(bytes: summary.missing))
  }

  /// When something becomes due although nothing happens.
  func nextMoment(after now: Instant) -> Instant? {
    var moment = Instant.distantFuture
    let hasRoom = running.count < options.executors
    guard hasRoom || earliestDeadline < .distantFuture else { return nil }
    for model in waiting {
      moment = min(moment, summaries[model].earliestDeadline)
      guard hasRoom else { continue }
      if summaries[model].ripe > now { moment = min(moment, summaries[model].ripe) }
      let latest = latestStart(summaries[model])
      if latest > now { moment = min(moment, latest) }
    }
    return moment == .distantFuture ? nil : max(moment, now)
  }
}
