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
  /// Small page-ins that may be under way together.
  private static let gatheredDepth = 64
  /// How short the page-ins of a batch have to be beside its computing to go before those of one
  /// that waits for the link: what computes as long as it pages in stands still itself.
  private static let leastHidden = 0.5

  /// Keeps the link busy with the weights that are needed next.
  ///
  /// Weights come in for the live batches first, then for the batches that would be formed next.
  /// Room is made only by evicting what is needed later than what comes in, so that paging ahead
  /// never costs a page that would have to come back sooner.
  mutating func feedLink(at now: Instant, _ plan: inout Plan) {
    guard budget != nil else { return }
    let promised = promisedBytes()
    while hasLinkRoom {
      if let model = fillingModel(), let need = nextNeed(of: model, ahead: true),
        pageIn(need, leaving: promised, &plan)
      {
        continue
      }
      guard let need = nextNeed(), pageIn(need, leaving: need.isUrgent ? 0 : promised, &plan)
      else { return }
    }
  }

  private var hasLinkRoom: Bool {
    guard options.features.contains(.prefetch) else { return transfers.isEmpty }
    return transfers.count < Self.linkDepth
      || inFlightBytes < options.gatheredBytes.bytes && transfers.count < Self.gatheredDepth
  }

  /// Bytes that the batch which goes on next will set aside for its run beyond what it holds now.
  ///
  /// What comes in ahead leaves them free: it would have to make way, and come in again before the
  /// run after that. A batch of VGG-19 that fits closely moved 10 GB that way instead of 1.2.
  private func promisedBytes() -> Int {
    guard let entry = agenda.live.first, entry.tier == 1 else { return 0 }
    let batch = batches[entry.batch]
    let bytes = bytesToSetAside(batch, layers: batch.top.layer..<batch.top.layer + 1)
    return max(bytes - batch.reserved, 0)
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
    if !ahead && (!running.isEmpty || batches.contains { $0.run == nil }) { return nil }
    for model in agenda.models {
      if let need = nextNeed(of: model, ahead: ahead) { return need }
      if !ahead { break }
    }
    return nil
  }

  /// The first missing kernel of the batch that would be formed of a model on the agenda.
  private func nextNeed(of model: Int, ahead: Bool) -> Need? {
    var seconds = agenda.liveSeconds
    for earlier in agenda.models {
      if earlier == model { break }
      seconds += serviceSeconds(summaries[earlier])
    }
    for (layer, kernel) in models[model].upcomingKernels.enumerated() {
      if isMissing(model, kernel) {
        let isUrgent = batches.isEmpty && seconds == 0
        return Need(model: model, kernel: kernel, seconds: seconds, isUrgent: isUrgent)
      }
      if !ahead { break }
      seconds += layerSeconds(model, layer, kernel)
    }
    return nil
  }

  /// A waiting model whose weights come in before those of the batch that goes on next: that one
  /// streams more weights than its computing hides, and the other computes meanwhile.
  ///
  /// Johnson's rule, as in `hides`, for a job that has begun. Both are answered in the time of the
  /// longer instead of one after the other; the batch pays with the page-ins of the other one.
  private func fillingModel() -> Int? {
    guard options.features.isSuperset(of: [.order, .prefetch]), let entry = agenda.live.first,
      entry.tier < 2, !entry.candidate.isStarved
    else { return nil }
    let batch = batches[entry.batch]
    let (compute, transfer) = (batch.remaining, link.seconds(bytes: missingBytes(of: batch)))
    guard compute < transfer else { return nil }
    return agenda.models.first { model in
      let summary = summaries[model]
      let late = link.seconds(bytes: summary.missing)
      guard summary.priority == batch.priority, late > 0,
        late < Self.leastHidden * summary.seconds
      else { return false }
      let before = transfer + max(late, summary.seconds)
      let after = max(late, compute + summary.seconds)
      return summary.worth * (before - after) > batch.worth * late
    }
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

  func segmentsAfter(_ batch: LiveBatch) -> Double {
    let next = batch.top.segment + 1
    return next < batch.program.segments.count ? batch.program.segments[next].remaining : 0
  }

  private mutating func pageIn(
    _ need: Need, leaving promised: Int, _ plan: inout Plan
  ) -> Bool {
    guard let budget else { return false }
    let state = models[need.model]
    let begin = state.resident[need.kernel] + state.inFlight[need.kernel]
    // Behind a page-in that failed others may be on their way: these go first.
    let first = transfers.first { $0.model == need.model && $0.kernel == need.kernel }
    guard first.map({ $0.begin == state.resident[need.kernel] }) ?? true else { return false }
    let bytes = min(state.kernels.weights[need.kernel] - begin, max(options.transferBytes.bytes, 1))
    // Not the state itself: were it still held when it changes below, it would be copied.
    let kernels = state.kernels
    let kept = Kept(model: need.model, kernels: kernels.all[need.kernel...need.kernel])
    while residentBytes + inFlightBytes + reservedBytes + promised + bytes > budget {
      let over = residentBytes + inFlightBytes + reservedBytes + promised + bytes - budget
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
        id: id, model: ModelID(Int32(need.model)), layer: kernels.layers[need.kernel],
        kernel: kernels.number(of: need.kernel), bytes: begin..<begin + bytes))
    return true
  }
}
