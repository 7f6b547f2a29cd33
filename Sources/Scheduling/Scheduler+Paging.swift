import Vocabulary

/// Layers that must not be evicted to make the room that they themselves need.
struct Kept: Sendable {
  var model: Int
  var layers: Range<Int>

  func contains(_ model: Int, _ layer: Int) -> Bool {
    model == self.model && layers.contains(layer)
  }
}

extension Scheduler {
  /// Page-ins that may be under way: one is carried out while the next one waits behind it.
  private static let linkDepth = 2

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

  /// A layer that will be needed, and in how many seconds.
  struct Need: Sendable {
    var model: Int
    var layer: Int
    var seconds: Double
    /// Whether something waits for it now, so that room must be made whatever it costs.
    var isUrgent: Bool
  }

  /// The first layer on the agenda that is neither resident nor on its way.
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
      for layer in models[model].weights.indices {
        if isMissing(model, layer) {
          let isUrgent = batches.isEmpty && seconds == 0
          return Need(model: model, layer: layer, seconds: seconds, isUrgent: isUrgent)
        }
        if !ahead { break }
        seconds += layerSeconds(model, layer)
      }
      start += serviceSeconds(summaries[model])
      if !ahead { break }
    }
    return nil
  }

  private func isMissing(_ model: Int, _ layer: Int) -> Bool {
    let state = models[model]
    return state.resident[layer] + state.inFlight[layer] < state.weights[layer]
  }

  private func layerSeconds(_ model: Int, _ layer: Int) -> Double {
    let samples = summaries[model].samples
    guard models[model].programs.indices.contains(samples),
      let program = models[model].programs[samples]
    else { return models[model].costs.seconds(layer: layer, batch: max(samples, 1), units: 1) }
    return program.layerSeconds[layer]
  }

  /// The first missing layer on the way of a batch: to the end of the chunk, round again for the
  /// next chunk, then the segments that follow.
  private func nextNeed(of batch: LiveBatch, start: Double, ahead: Bool) -> Need? {
    var seconds = start
    let top = batch.top
    let segment = batch.program.segments[top.segment]
    for layer in top.layer..<segment.layers.upperBound {
      if isMissing(batch.model, layer) {
        let isUrgent = layer == top.layer && batch.run == nil && start == 0
        return Need(model: batch.model, layer: layer, seconds: seconds, isUrgent: isUrgent)
      }
      if !ahead { return nil }
      seconds += batch.program.layerSeconds[layer]
    }
    if batch.chunk.upperBound < top.samples.upperBound {
      for layer in segment.layers.lowerBound..<top.layer {
        if isMissing(batch.model, layer) {
          return Need(model: batch.model, layer: layer, seconds: seconds, isUrgent: false)
        }
        seconds += batch.program.layerSeconds[layer]
      }
    }
    seconds = start + max(batch.remaining - segmentsAfter(batch), seconds - start)
    for layer in segment.layers.upperBound..<models[batch.model].weights.count {
      if isMissing(batch.model, layer) {
        return Need(model: batch.model, layer: layer, seconds: seconds, isUrgent: false)
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
    let begin = state.resident[need.layer] + state.inFlight[need.layer]
    // Behind a page-in that failed others may be on their way: these go first.
    let first = transfers.first { $0.model == need.model && $0.layer == need.layer }
    guard first.map({ $0.begin == state.resident[need.layer] }) ?? true else { return false }
    let bytes = min(state.weights[need.layer] - begin, max(options.transferBytes.bytes, 1))
    let kept = Kept(model: need.model, layers: need.layer..<need.layer + 1)
    while residentBytes + inFlightBytes + reservedBytes + bytes > budget {
      let over = residentBytes + inFlightBytes + reservedBytes + bytes - budget
      let bound = need.isUrgent ? -1 : need.seconds
      guard let victim = victim(neededAfter: bound, keeping: kept) else { return false }
      shorten(victim.model, victim.layer, by: over, &plan)
    }
    let id = PageInID(nextPageIn)
    nextPageIn += 1
    transfers.append(
      Transfer(id: id, model: need.model, layer: need.layer, begin: begin, bytes: bytes))
    inFlightBytes += bytes
    models[need.model].inFlight[need.layer] += bytes
    plan.pageIns.append(
      PageIn(
        id: id, model: ModelID(Int32(need.model)), layer: need.layer, bytes: begin..<begin + bytes))
    return true
  }

  // MARK: Eviction

  /// The resident layer whose next use is farthest, if it is farther than some seconds.
  ///
  /// Belady's rule on the agenda. Of the models that nothing is known of those whose weights take
  /// long to come in go first; then the one that is expected last, and of it the last layers: the
  /// first ones are needed before, and what comes later can hide its page-in behind them.
  mutating func victim(neededAfter seconds: Double, keeping kept: Kept?) -> (
    model: Int, layer: Int
  )? {
    guard options.features.contains(.belady) else {
      return leastRecent(neededAfter: seconds, keeping: kept)
    }
    if let slow = leastRecentLinkBound(keeping: kept) { return slow }
    var farthest = seconds
    var found: (model: Int, layer: Int)?
    for index in batches.indices {
      let model = batches[index].model
      // Several batches of one model: the first one counts for all.
      if batches[..<index].contains(where: { $0.model == model }) { continue }
      measureDistances(of: model)
      for layer in distances.indices
      where distances[layer] > farthest && isEvictable(model, layer, kept) {
        farthest = distances[layer]
        found = (model, layer)
      }
    }
    for model in models.indices where models[model].live == 0 {
      let layer = models[model].highestResident
      guard layer >= 0 else { continue }
      let distance = secondsUntilUse(of: model) + Double(layer) * 1e-6
      if distance > farthest, isEvictable(model, layer, kept) {
        farthest = distance
        found = (model, layer)
      }
    }
    return found
  }

  /// The layer that was used longest ago, of the models that neither run nor are next and that
  /// computing cannot hide the page-ins of.
  ///
  /// Of a model that has just been through these are its first layers. Were it the last ones, its
  /// next batch would begin at once, hold activations, and stall for them all the same; and the
  /// first ones, that most computing waits behind, come back soonest.
  private func leastRecentLinkBound(keeping kept: Kept?) -> (model: Int, layer: Int)? {
    var found: (model: Int, layer: Int)?
    var oldest = Instant.distantFuture
    for model in models.indices
    where models[model].live == 0 && models[model].highestResident >= 0 {
      let (lowest, highest) = (models[model].lowestResident, models[model].highestResident)
      guard models[model].lastUse[lowest] < oldest, isLinkBound(model),
        !agenda.models.contains(model)
      else { continue }
      var layer = lowest
      while layer <= highest, !isEvictable(model, layer, kept) { layer += 1 }
      if layer <= highest, models[model].lastUse[layer] < oldest {
        (found, oldest) = ((model, layer), models[model].lastUse[layer])
      }
    }
    return found
  }

  /// Whether all weights of a model take more than twice as long to come in as one sample computes.
  private func isLinkBound(_ model: Int) -> Bool {
    link.seconds(bytes: models[model].weightBytes) > 2 * models[model].singleSeconds
  }

  private func isEvictable(_ model: Int, _ layer: Int, _ kept: Kept?) -> Bool {
    guard models[model].resident[layer] > 0, models[model].inFlight[layer] == 0 else {
      return false
    }
    if let kept, kept.contains(model, layer) { return false }
    return !isRunning(model, layer)
  }

  func isRunning(_ model: Int, _ layer: Int) -> Bool {
    running.contains { $0.layers.contains(layer) && self.model(of: $0) == model }
  }

  /// The model that a run belongs to; none any more when its batch is lost.
  func model(of run: Running) -> Int? {
    batches.first { $0.id == run.batch }?.model
  }

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
    guard rate > 0 else { return agenda.totalSeconds + 1e6 }
    return agenda.totalSeconds + 1 / rate + models[model].lonelySeconds
  }

  /// Seconds until each layer of a model with live batches is used next: the soonest use counts.
  private mutating func measureDistances(of model: Int) {
    let again = secondsUntilUse(of: model)
    distances.removeAll(keepingCapacity: true)
    for layer in models[model].weights.indices { distances.append(again + Double(layer) * 1e-6) }
    for index in batches.indices where batches[index].model == model {
      let start = agenda.live.first { $0.batch == index }?.start ?? 0
      measureDistances(of: batches[index], start: start)
    }
  }

  private mutating func measureDistances(of batch: LiveBatch, start: Double) {
    let top = batch.top
    let segment = batch.program.segments[top.segment]
    var seconds = start
    for layer in top.layer..<segment.layers.upperBound {
      distances[layer] = min(distances[layer], seconds)
      seconds += batch.program.layerSeconds[layer]
    }
    if batch.chunk.upperBound < top.samples.upperBound {
      for layer in segment.layers.lowerBound..<top.layer {
        distances[layer] = min(distances[layer], seconds)
        seconds += batch.program.layerSeconds[layer]
      }
    }
    seconds = start + max(batch.remaining - segmentsAfter(batch), 0)
    for layer in segment.layers.upperBound..<distances.count {
      distances[layer] = min(distances[layer], seconds)
      seconds += batch.program.layerSeconds[layer]
    }
  }

  /// The resident layer that was used longest ago, of those that are not needed within some
  /// seconds: without that bound two layers could evict each other for ever.
  private mutating func leastRecent(
    neededAfter seconds: Double, keeping kept: Kept?
  ) -> (model: Int, layer: Int)? {
    var found: (model: Int, layer: Int)?
    var oldest = Instant.distantFuture
    for model in models.indices where models[model].highestResident >= 0 {
      let isLive = models[model].live > 0
      if isLive { measureDistances(of: model) }
      for layer in 0...models[model].highestResident
      where models[model].lastUse[layer] < oldest && isEvictable(model, layer, kept) {
        let distance = isLive ? distances[layer] : secondsUntilUse(of: model)
        guard distance > seconds else { continue }
        oldest = models[model].lastUse[layer]
        found = (model, layer)
      }
    }
    return found
  }
}
