import Vocabulary

extension Scheduler {
  /// Page-ins that may be under way: one is carried out while the next one waits behind it.
  private static let linkDepth = 2

  /// Keeps the link busy with the weights that are needed next.
  ///
  /// Weights come in for the live batches first, then for the batches that would be formed next. Room
  /// is made only by evicting what is needed later than what comes in, so that paging ahead never
  /// costs a page that would have to come back sooner.
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
    var start = 0.0
    // Runs first: their batches go on soonest. Then those that stand still, in order of formation.
    for isRunning in [true, false] {
      for batch in batches where (batch.run != nil) == isRunning {
        if isRunning && !ahead { continue }
        if let need = nextNeed(of: batch, start: start, ahead: ahead) { return need }
        start += batch.remaining
      }
    }
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
        let isUrgent = layer == top.layer && batch.run == nil
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
    let bytes = min(state.weights[need.layer] - begin, max(options.transferBytes.bytes, 1))
    while residentBytes + inFlightBytes + reservedBytes + bytes > budget {
      let over = residentBytes + inFlightBytes + reservedBytes + bytes - budget
      let bound = need.isUrgent ? -1 : need.seconds
      guard let victim = victim(neededAfter: bound, sparing: need) else { return false }
      let page = max(options.pageBytes.bytes, 1)
      let rounded = (over + page - 1) / page * page
      let kept = max(models[victim.model].resident[victim.layer] - rounded, 0)
      evict(victim.model, victim.layer, keeping: kept, &plan)
    }
    let id = PageInID(nextPageIn)
    nextPageIn += 1
    transfers.append(Transfer(id: id, model: need.model, layer: need.layer, bytes: bytes))
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
  /// Belady's rule on the agenda. Of the models that nothing is known of the one that is expected
  /// last goes first, and in each model the last layers: the first ones are needed before, and
  /// what comes later can hide its page-in behind them.
  func victim(neededAfter seconds: Double, sparing need: Need?) -> (model: Int, layer: Int)? {
    guard options.features.contains(.belady) else { return leastRecent(sparing: need) }
    var farthest = seconds
    var found: (model: Int, layer: Int)?
    for batch in batches {
      for (layer, distance) in distances(of: batch)
      where distance > farthest && isEvictable(batch.model, layer, need) {
        farthest = distance
        found = (batch.model, layer)
      }
    }
    for model in models.indices where models[model].live == 0 {
      let layer = models[model].highestResident
      guard layer >= 0 else { continue }
      let distance = secondsUntilUse(of: model) + Double(layer) * 1e-6
      if distance > farthest, isEvictable(model, layer, need) {
        farthest = distance
        found = (model, layer)
      }
    }
    return found
  }

  private func isEvictable(_ model: Int, _ layer: Int, _ need: Need?) -> Bool {
    guard models[model].resident[layer] > 0, models[model].inFlight[layer] == 0 else {
      return false
    }
    if let need, need.model == model, need.layer == layer { return false }
    return !running.contains { run in
      run.layers.contains(layer)
        && batches.contains { $0.id == run.batch && $0.model == model }
    }
  }

  /// Seconds until a model without a live batch is needed, as far as can be told.
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
    return agenda.totalSeconds + (rate > 0 ? 1 + 1 / rate : 1e6)
  }

  /// Seconds until each layer of a live batch's model is used next.
  private func distances(of batch: LiveBatch) -> [(Int, Double)] {
    var result: [(Int, Double)] = []
    let count = models[batch.model].weights.count
    result.reserveCapacity(count)
    let top = batch.top
    let segment = batch.program.segments[top.segment]
    var pass = 0.0
    for layer in top.layer..<segment.layers.upperBound {
      result.append((layer, pass))
      pass += batch.program.layerSeconds[layer]
    }
    let sweepsAgain = batch.chunk.upperBound < top.samples.upperBound
    let next = agenda.totalSeconds + (models[batch.model].queue.isEmpty ? 1 : 0)
    for layer in 0..<top.layer {
      let isSwept = sweepsAgain && layer >= segment.layers.lowerBound
      result.append((layer, isSwept ? pass : next + Double(layer) * 1e-6))
      if isSwept { pass += batch.program.layerSeconds[layer] }
    }
    var later = max(batch.remaining - segmentsAfter(batch), 0)
    for layer in segment.layers.upperBound..<count {
      result.append((layer, later))
      later += batch.program.layerSeconds[layer]
    }
    return result
  }

  /// The resident layer that was used longest ago.
  private func leastRecent(sparing need: Need?) -> (model: Int, layer: Int)? {
    var found: (model: Int, layer: Int)?
    var oldest = Instant.distantFuture
    for model in models.indices where models[model].highestResident >= 0 {
      for layer in 0...models[model].highestResident
      where models[model].lastUse[layer] < oldest && isEvictable(model, layer, need) {
        oldest = models[model].lastUse[layer]
        found = (model, layer)
      }
    }
    return found
  }
}
