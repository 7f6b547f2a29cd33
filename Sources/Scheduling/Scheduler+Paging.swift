import Vocabulary

/// Kernels whose weights must not be evicted to make the room that they themselves need.
struct Kept: Sendable {
  var model: Int
  /// Ascending, one a layer.
  var kernels: ArraySlice<Int>

  func contains(_ model: Int, _ kernel: Int) -> Bool {
    guard model == self.model, let first = kernels.first, let last = kernels.last,
      first <= kernel, kernel <= last
    else { return false }
    // Without a choice of kernels there are no gaps between them.
    return last - first == kernels.count - 1 || kernels.contains(kernel)
  }
}

extension Scheduler {
  /// Page-ins that may be under way: one is carried out while the next one waits behind it.
  private static let linkDepth = 2
  /// Seconds until what nobody is known to need.
  private static let never = 1e6

  /// Keeps the link busy with the weights that are needed next.
  ///
  /// Weights come in for the live batches first, then for the batches that would be formed next.
  /// Room is made only by evicting what is needed later than what comes in, so that paging ahead
  /// never costs a page that would have to come back sooner.
  mutating func feedLink(at now: Instant, _ plan: inout Plan) {
    guard budget != nil else { return }
    let depth = options.features.contains(.prefetch) ? Self.linkDepth : 1
    while transfers.count < depth {
      guard let need = nextNeed(), pageIn(need, at: now, &plan) else { return }
    }
  }

  /// A kernel whose weights will be needed, and in how many seconds.
  struct Need: Sendable {
    var model: Int
    var kernel: Int
    var seconds: Double
    /// Whether something waits for it now, so that room must be made whatever it costs.
    var isUrgent: Bool
  }

  /// The first kernel on the agenda whose weights are neither resident nor on their way.
  private func nextNeed() -> Need? {
    let ahead = options.features.contains(.prefetch)
    for entry in agenda.live where ahead || entry.tier > 0 {
      let batch = batches[entry.batch]
      if let need = nextNeed(of: batch, start: entry.start, ahead: ahead) { return need }
    }
    var start = agenda.liveSeconds
    if !ahead && (!running.isEmpty || batches.contains { $0.run == nil }) { return nil }
    for model in agenda.models {
      var seconds = start
      for (layer, kernel) in models[model].upcomingKernels.enumerated() {
        if isMissing(model, kernel) {
          let isUrgent = batches.isEmpty && seconds == 0
          return Need(model: model, kernel: kernel, seconds: seconds, isUrgent: isUrgent)
        }
        if !ahead { break }
        seconds += layerSeconds(model, layer, kernel)
      }
      start += serviceSeconds(summaries[model])
      if !ahead { break }
    }
    return nil
  }

  private func isMissing(_ model: Int, _ kernel: Int) -> Bool {
    let state = models[model]
    return state.resident[kernel] + state.inFlight[kernel] < state.kernels.weights[kernel]
  }

  private func layerSeconds(_ model: Int, _ layer: Int, _ kernel: Int) -> Double {
    let samples = summaries[model].samples
    guard models[model].programs.indices.contains(samples),
      let program = models[model].programs[samples]
    else { return models[model].costs.seconds(kernel: kernel, batch: max(samples, 1), units: 1) }
    return program.layerSeconds[layer]
  }

  /// The first missing layer on the way of a batch: to the end of the chunk, round again for the
  /// next chunk, then the segments that follow.
  private func nextNeed(of batch: LiveBatch, start: Double, ahead: Bool) -> Need? {
    var seconds = start
    let top = batch.top
    let segment = batch.program.segments[top.segment]
    let kernels = batch.program.kernels
    for layer in top.layer..<segment.layers.upperBound {
      if isMissing(batch.model, kernels[layer]) {
        let isUrgent = layer == top.layer && batch.run == nil && start == 0
        return Need(
          model: batch.model, kernel: kernels[layer], seconds: seconds, isUrgent: isUrgent)
      }
      if !ahead { return nil }
      seconds += batch.program.layerSeconds[layer]
    }
    if batch.chunk.upperBound < top.samples.upperBound {
      for layer in segment.layers.lowerBound..<top.layer {
        if isMissing(batch.model, kernels[layer]) {
          return Need(model: batch.model, kernel: kernels[layer], seconds: seconds, isUrgent: false)
        }
        seconds += batch.program.layerSeconds[layer]
      }
    }
    seconds = start + max(batch.remaining - segmentsAfter(batch), seconds - start)
    for layer in segment.layers.upperBound..<kernels.count {
      if isMissing(batch.model, kernels[layer]) {
        return Need(model: batch.model, kernel: kernels[layer], seconds: seconds, isUrgent: false)
      }
      seconds += batch.program.layerSeconds[layer]
    }
    return nil
  }

  private func segmentsAfter(_ batch: LiveBatch) -> Double {
    let next = batch.top.segment + 1
    return next < batch.program.segments.count ? batch.program.segments[next].remaining : 0
  }

  private mutating func pageIn(_ need: Need, at now: Instant, _ plan: inout Plan) -> Bool {
    guard let budget else { return false }
    let state = models[need.model]
    let begin = state.resident[need.kernel] + state.inFlight[need.kernel]
    // Behind a page-in that failed others may be on their way: these go first.
    let first = transfers.first { $0.model == need.model && $0.kernel == need.kernel }
    guard first.map({ $0.begin == state.resident[need.kernel] }) ?? true else { return false }
    let bytes = min(state.kernels.weights[need.kernel] - begin, max(options.transferBytes.bytes, 1))
    let kept = Kept(model: need.model, kernels: state.kernels.all[need.kernel...need.kernel])
    while residentBytes + inFlightBytes + reservedBytes + bytes > budget {
      let over = residentBytes + inFlightBytes + reservedBytes + bytes - budget
      let bound = need.isUrgent ? -1 : need.seconds
      guard let victim = victim(neededAfter: bound, keeping: kept) else { return false }
      shorten(victim.model, victim.kernel, by: over, &plan)
    }
    let id = PageInID(nextPageIn)
    nextPageIn += 1
    transfers.append(
      Transfer(id: id, model: need.model, kernel: need.kernel, begin: begin, bytes: bytes))
    inFlightBytes += bytes
    models[need.model].inFlight[need.kernel] += bytes
    plan.pageIns.append(
      PageIn(
        id: id, model: ModelID(Int32(need.model)), layer: state.kernels.layers[need.kernel],
        kernel: state.kernels.number(of: need.kernel), bytes: begin..<begin + bytes))
    return true
  }

  // MARK: Eviction

  /// The resident kernel whose next use is farthest, if it is farther than some seconds.
  ///
  /// Belady's rule on the agenda. Of the models that nothing is known of those whose weights take
  /// long to come in go first; then the one that is expected last, and of it the last layers: the
  /// first ones are needed before, and what comes later can hide its page-in behind them.
  mutating func victim(neededAfter seconds: Double, keeping kept: Kept?) -> (
    model: Int, kernel: Int
  )? {
    guard options.features.contains(.belady) else {
      return leastRecent(neededAfter: seconds, keeping: kept)
    }
    if let slow = leastRecentLinkBound(keeping: kept) { return slow }
    var farthest = seconds
    var found: (model: Int, kernel: Int)?
    for index in batches.indices {
      let model = batches[index].model
      // Several batches of one model: the first one counts for all.
      if batches[..<index].contains(where: { $0.model == model }) { continue }
      measureDistances(of: model)
      for kernel in distances.indices
      where distances[kernel] > farthest && isEvictable(model, kernel, kept) {
        farthest = distances[kernel]
        found = (model, kernel)
      }
    }
    for model in models.indices where models[model].live == 0 {
      guard models[model].kernels.isSingle else {
        if let (kernel, distance) = farthestOfMany(model, keeping: kept), distance > farthest {
          (farthest, found) = (distance, (model, kernel))
        }
        continue
      }
      let kernel = models[model].highestResident
      guard kernel >= 0 else { continue }
      let distance = secondsUntilUse(of: model) + Double(kernel) * 1e-6
      if distance > farthest, isEvictable(model, kernel, kept) {
        farthest = distance
        found = (model, kernel)
      }
    }
    return found
  }

  /// The last resident kernel of a model without live batches, those first that its next batch does
  /// not go through.
  private func farthestOfMany(_ model: Int, keeping kept: Kept?) -> (kernel: Int, seconds: Double)? {
    let (kernels, upcoming) = (models[model].kernels, models[model].upcomingKernels)
    let use = secondsUntilUse(of: model)
    var found: (kernel: Int, seconds: Double)?
    for kernel in kernels.all where isEvictable(model, kernel, kept) {
      let isNext = upcoming[kernels.layers[kernel]] == kernel
      let seconds = (isNext ? use : agenda.totalSeconds + Self.never) + Double(kernel) * 1e-6
      if seconds > found?.seconds ?? -1 { found = (kernel, seconds) }
    }
    return found
  }

  /// The kernel that was used longest ago, of the models that neither run nor are next and that
  /// computing cannot hide the page-ins of.
  ///
  /// Of a model that has just been through these are its first layers. Were it the last ones, its
  /// next batch would begin at once, hold activations, and stall for them all the same; and the
  /// first ones, that most computing waits behind, come back soonest.
  private func leastRecentLinkBound(keeping kept: Kept?) -> (model: Int, kernel: Int)? {
    var found: (model: Int, kernel: Int)?
    var oldest = Instant.distantFuture
    for model in models.indices
    where models[model].live == 0 && models[model].highestResident >= 0 {
      let (lowest, highest) = (models[model].lowestResident, models[model].highestResident)
      guard models[model].lastUse[lowest] < oldest, isLinkBound(model),
        !agenda.models.contains(model)
      else { continue }
      var kernel = lowest
      while kernel <= highest, !isEvictable(model, kernel, kept) { kernel += 1 }
      if kernel <= highest, models[model].lastUse[kernel] < oldest {
        (found, oldest) = ((model, kernel), models[model].lastUse[kernel])
      }
    }
    return found
  }

  /// Whether all weights of a model take more than twice as long to come in as one sample computes.
  private func isLinkBound(_ model: Int) -> Bool {
    link.seconds(bytes: models[model].weightBytes) > 2 * models[model].singleSeconds
  }

  private func isEvictable(_ model: Int, _ kernel: Int, _ kept: Kept?) -> Bool {
    guard models[model].resident[kernel] > 0, models[model].inFlight[kernel] == 0 else {
      return false
    }
    if let kept, kept.contains(model, kernel) { return false }
    return !isRunning(model, kernel)
  }

  func isRunning(_ model: Int, _ kernel: Int) -> Bool {
    guard !running.isEmpty else { return false }
    let layer = models[model].kernels.layers[kernel]
    return running.contains { run in
      guard run.layers.contains(layer), let index = batch(of: run) else { return false }
      return batches[index].model == model && batches[index].program.kernels[layer] == kernel
    }
  }

  /// The batch that a run belongs to; none any more when it is lost.
  func batch(of run: Running) -> Int? { batches.firstIndex { $0.id == run.batch } }

  /// Seconds until the next batch of a model that is not formed yet, as far as can be told.
  private func secondsUntilUse(of model: Int) -> Double {
    if let place = agenda.models.firstIndex(of: model) {
      var start = agenda.liveSeconds
      for earlier in agenda.models[..<place] { start += serviceSeconds(summaries[earlier]) }
      return start
    }
    let summary = summaries[model]
    if summary.requests > 0 {
      return agenda.totalSeconds + serviceSeconds(summary) / max(summary.worth, 1e-9)
    }
    let rate = models[model].arrivalRate
    guard rate > 0 else { return agenda.totalSeconds + Self.never }
    return agenda.totalSeconds + 1 / rate + models[model].lonelySeconds
  }

  /// Seconds until each kernel of a model with live batches is used next: the soonest use counts.
  private mutating func measureDistances(of model: Int) {
    let again = secondsUntilUse(of: model)
    distances.removeAll(keepingCapacity: true)
    for kernel in models[model].kernels.all { distances.append(again + Double(kernel) * 1e-6) }
    for index in batches.indices where batches[index].model == model {
      let start = agenda.live.first { $0.batch == index }?.start ?? 0
      measureDistances(of: batches[index], start: start)
    }
  }

  private mutating func measureDistances(of batch: LiveBatch, start: Double) {
    let top = batch.top
    let segment = batch.program.segments[top.segment]
    let kernels = batch.program.kernels
    var seconds = start
    for layer in top.layer..<segment.layers.upperBound {
      distances[kernels[layer]] = min(distances[kernels[layer]], seconds)
      seconds += batch.program.layerSeconds[layer]
    }
    if batch.chunk.upperBound < top.samples.upperBound {
      for layer in segment.layers.lowerBound..<top.layer {
        distances[kernels[layer]] = min(distances[kernels[layer]], seconds)
        seconds += batch.program.layerSeconds[layer]
      }
    }
    seconds = start + max(batch.remaining - segmentsAfter(batch), 0)
    for layer in segment.layers.upperBound..<kernels.count {
      distances[kernels[layer]] = min(distances[kernels[layer]], seconds)
      seconds += batch.program.layerSeconds[layer]
    }
  }

  /// The resident kernel that was used longest ago, of those that are not needed within some
  /// seconds: without that bound two could evict each other for ever.
  private mutating func leastRecent(
    neededAfter seconds: Double, keeping kept: Kept?
  ) -> (model: Int, kernel: Int)? {
    var found: (model: Int, kernel: Int)?
    var oldest = Instant.distantFuture
    for model in models.indices where models[model].highestResident >= 0 {
      let isLive = models[model].live > 0
      if isLive { measureDistances(of: model) }
      for kernel in 0...models[model].highestResident
      where models[model].lastUse[kernel] < oldest && isEvictable(model, kernel, kept) {
        let distance = isLive ? distances[kernel] : secondsUntilUse(of: model)
        guard distance > seconds else { continue }
        oldest = models[model].lastUse[kernel]
        found = (model, kernel)
      }
    }
    return found
  }
}
