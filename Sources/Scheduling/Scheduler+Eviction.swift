import Vocabulary

extension Scheduler {
  /// Seconds until what nobody is known to need.
  private static let never = 1e6

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
  private func farthestOfMany(_ model: Int, keeping kept: Kept?) -> (kernel: Int, seconds: Double)?
  {
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
