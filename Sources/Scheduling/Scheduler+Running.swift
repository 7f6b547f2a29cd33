import Vocabulary

extension Scheduler {
  /// Runs that a batch is cut into when no other waits: a border costs memory traffic and, should
  /// somebody come, a run is what they wait for.
  private static let runsOfLoneBatch = 4.0

  /// Hands out runs as long as units are free and something can begin.
  mutating func startRuns(at now: Instant, _ plan: inout Plan) {
    refused.removeAll(keepingCapacity: true)
    // What stands still lets late arrivals catch up while it waits for its weights.
    for index in batches.indices { _ = joinLateArrivals(index, at: now, &plan) }
    while true {
      let ready = choose(at: now)
      guard running.count < options.executors, freeUnits > 0, let ready else { return }
      // What memory or the link does not let begin now must not keep others from it.
      if !start(ready, at: now, &plan) { refused.append(ready.source) }
    }
  }

  private mutating func start(
    _ candidate: Candidate, at now: Instant, _ plan: inout Plan
  ) -> Bool {
    switch candidate.source {
    case .live(let index):
      return startRun(index, at: now, &plan)
    case .fresh(let model):
      guard let index = form(model, at: now, &plan) else { return false }
      return startRun(index, at: now, &plan)
    }
  }

  /// Forms a batch of waiting requests, if memory has room for it beside the live ones.
  private mutating func form(_ model: Int, at now: Instant, _ plan: inout Plan) -> Int? {
    let count = groupSize(model, at: now)
    let profile = models[model].profile
    let samples =
      profile.maximumBatch > 1 ? models[model].queue.samples(ofFirst: count) : 1
    guard let program = program(model, samples: max(samples, 1)) else { return nil }
    if let budget, program.need + reservedBytes > budget { return nil }
    let first = program.segments[0].activations
    let kept = Kept(model: model, kernels: program.kernels[0..<1])
    guard makeRoom(first, keeping: kept, &plan) else { return nil }
    let reason = reason(model, requests: count, at: now)
    taken.removeAll(keepingCapacity: true)
    let shape = models[model].queue.first?.request.shapeClass ?? 0
    models[model].queue.takeBatch(
      maximum: profile.maximumBatch > 1 ? samples : batchLimit(model), into: &taken)
    if models[model].queue.isEmpty { waiting.removeAll { $0 == model } }
    let index = batches.count
    batches.append(
      LiveBatch(
        id: BatchID(nextBatch), model: model, shapeClass: shape,
        priority: taken.first?.request.priority ?? 0, program: program, started: now,
        idleSince: now))
    nextBatch += 1
    batches[index].members = spareMembers.popLast() ?? []
    batches[index].cohorts = spareCohorts.popLast() ?? []
    batches[index].reserved = first
    reservedBytes += first
    let held = enter(index, from: 0, capacity: max(samples, 1), reason, &plan)
    batches[index].cohorts.append(
      LiveBatch.Cohort(samples: 0..<held, segment: 0, chunkStart: 0, layer: 0))
    models[model].live += 1
    refresh(model)
    return index
  }

  /// Puts the requests just taken into a batch, and returns the samples that it then holds.
  ///
  /// In place: a copy of the batch that is put back would allocate.
  private mutating func enter(
    _ index: Int, from start: Int, capacity: Int, _ reason: Batch.Reason, _ plan: inout Plan
  ) -> Int {
    let model = batches[index].model
    let isWhole = models[model].profile.maximumBatch == 1
    let firstMember = plan.members.count
    var end = start
    for entry in taken {
      places[entry.request.id] = nil
      end += isWhole ? 1 : entry.request.samples
      plan.members.append(entry.request.id)
      batches[index].members.append(
        LiveBatch.Member(request: entry.request, end: end, arrived: entry.arrived))
    }
    batches[index].worth =
      models[model].profile.weight * Double(batches[index].members.count)
    plan.batches.append(
      Batch(
        id: batches[index].id, model: ModelID(Int32(model)),
        requests: firstMember..<plan.members.count, samples: start..<end, capacity: capacity,
        reason: reason))
    return end
  }

  /// Lets waiting requests of a batch's model catch up with it, when everybody together is answered
  /// sooner that way; returns whether it did.
  private mutating func joinLateArrivals(
    _ index: Int, at now: Instant, _ plan: inout Plan
  ) -> Bool {
    let model = batches[index].model
    guard options.features.contains(.merge), batches[index].isJoinable,
      models[model].profile.maximumBatch > 1, let first = models[model].queue.first,
      first.request.shapeClass == batches[index].shapeClass, models[model].costs.isKnown
    else { return false }
    let preview = models[model].queue.batchPreview(
      maximum: batchLimit(model) - batches[index].samples)
    let total = batches[index].samples + preview.samples
    let layer = batches[index].top.layer
    guard preview.samples > 0, layer > 0, total < models[model].programs.count,
      let joined = program(model, samples: total),
      let late = program(model, samples: preview.samples),
      let place = joined.segment(joinableAt: layer),
      canWait(batches[index].model, at: layer, while: joined.segments[..<place]),
      reservedBytes - batches[index].reserved + joined.need <= budget ?? .max,
      isWorthJoining(index, late: late, joined: joined, requests: preview.requests),
      !keepsWaiting(joining: model, at: now),
      makeRoom(
        joined.segments[0].activations - batches[index].reserved,
        keeping: Kept(model: model, kernels: joined.kernels[0..<1]), &plan)
    else { return false }
    taken.removeAll(keepingCapacity: true)
    models[model].queue.takeBatch(maximum: preview.samples, into: &taken)
    if models[model].queue.isEmpty { waiting.removeAll { $0 == model } }
    setReservation(index, to: max(joined.segments[0].activations, batches[index].reserved))
    let old = batches[index].samples
    batches[index].program = joined
    batches[index].cohorts[0].segment = place
    let end = enter(index, from: old, capacity: total, .merge, &plan)
    batches[index].cohorts.append(
      LiveBatch.Cohort(samples: old..<end, segment: 0, chunkStart: old, layer: 0))
    refresh(model)
    return true
  }

  /// Whether samples that wait at a border take no more there than at the ends of some segments,
  /// which is what the memory of these segments is worked out with.
  private func canWait(
    _ model: Int, at layer: Int, while segments: ArraySlice<BatchProgram.Segment>
  ) -> Bool {
    let profile = models[model].profile
    let bytes = profile.activations(before: layer)
    return segments.allSatisfy {
      bytes <= profile.activations(before: $0.layers.lowerBound)
        || bytes <= profile.activations(before: $0.layers.upperBound)
    }
  }

  /// Compares the sums of completion times: the batch goes on and the late ones follow, or all wait
  /// until the late ones have caught up and go on together.
  private func isWorthJoining(
    _ index: Int, late: BatchProgram, joined: BatchProgram, requests: Int
  ) -> Bool {
    let batch = batches[index]
    let layer = batch.top.layer
    let ahead = Double(batch.members.count)
    let behind = Double(requests)
    let rest = max(batch.remaining, link.seconds(bytes: missingBytes(of: batch)))
    let again = budget == nil ? 0 : max(late.pageIns - usefulBytes(batch.model), 0)
    let alone = max(late.seconds, link.seconds(bytes: again))
    // The layers that the batch has left behind may have given way to others meanwhile.
    let back = missingBytes(batch.model, joined.kernels[..<layer])
    var catchUp = 0.0
    for index in 0..<layer { catchUp += late.layerSeconds[index] }
    catchUp = max(catchUp, link.seconds(bytes: back))
    let missing = missingBytes(batch.model, joined.kernels[layer...])
    var together = 0.0
    for index in layer..<joined.layerSeconds.count { together += joined.layerSeconds[index] }
    together = max(together, link.seconds(bytes: missing))
    let apart = ahead * rest + behind * (rest + alone)
    return (ahead + behind) * (catchUp + together) < apart
  }

  /// Hands out the next run of a live batch; false when its weights or memory are not there.
  private mutating func startRun(_ index: Int, at now: Instant, _ plan: inout Plan) -> Bool {
    let batch = batches[index]
    guard batch.run == nil, var layers = nextLayers(batch) else { return false }
    if !setMemoryAside(index, layers: layers, at: now, &plan) {
      // The weights of one layer fit beside the activations where those of several do not.
      layers = layers.prefix(1)
      guard setMemoryAside(index, layers: layers, at: now, &plan) else { return false }
    }
    let units = unitsFor(index, layers: layers, at: now)
    guard units > 0 else { return false }
    let chunk = batch.chunk
    let id = RunID(nextRun)
    nextRun += 1
    let isBeside = !running.isEmpty
    let predicted = seconds(batch, layers: layers, units: units)
    for other in running.indices { running[other].wasBeside = true }
    running.append(
      Running(
        run: id, batch: batch.id, layers: layers, samples: chunk.count, units: units, started: now,
        predicted: predicted, wasBeside: isBeside))
    freeUnits -= units
    batches[index].run = id
    plan.runs.append(
      Run(
        id: id, batch: batch.id, model: ModelID(Int32(batch.model)), layers: layers, samples: chunk,
        chunk: chunk.count, layerBatches: batch.program.layerBatches[layers],
        kernels: batch.program.kernelNumbers[layers], units: units,
        predicted: predicted > 0 ? .nanoseconds(Int64(predicted * 1e9)) : nil))
    return true
  }

  /// Sets memory aside for a run; false when it must wait for other batches or for page-ins.
  private mutating func setMemoryAside(
    _ index: Int, layers: Range<Int>, at now: Instant, _ plan: inout Plan
  ) -> Bool {
    guard let budget else { return true }
    let batch = batches[index]
    let segment = batch.program.segments[batch.top.segment]
    // What has begun can always be finished: it may go on only if it can get through to its end
    // beside what the others hold. The one that went on last can, so there is no deadlock.
    guard segment.need + reservedBytes - batch.reserved <= budget else { return false }
    let bytes = bytesToSetAside(batch, layers: layers)
    let kept = Kept(model: batch.model, kernels: batch.program.kernels[layers])
    guard makeRoom(bytes - batch.reserved, keeping: kept, &plan) else { return false }
    setReservation(index, to: bytes)
    return true
  }

  /// What a batch holds while it runs some layers.
  ///
  /// While chunks follow, the most that the segment needs is kept; in its last chunk what the
  /// layers no longer need is given to the weights that come next.
  func bytesToSetAside(_ batch: LiveBatch, layers: Range<Int>) -> Int {
    let segment = batch.program.segments[batch.top.segment]
    let isLast = batch.chunk.upperBound == batch.top.samples.upperBound && batch.cohorts.count == 1
    return isLast
      ? activations(of: batch, in: layers, chunk: batch.chunk.count)
      : activations(
        of: batch, in: segment.layers, chunk: min(segment.chunk, batch.top.samples.count))
  }

  /// Bytes of activations and scratch of all samples of a batch while a chunk of so many is in some
  /// layers of its segment, and the others wait at the ends of the segment or below.
  private func activations(of batch: LiveBatch, in layers: Range<Int>, chunk: Int) -> Int {
    let (profile, kernels) = (models[batch.model].profile, models[batch.model].kernels)
    let ends = batch.program.segments[batch.top.segment].layers
    var inside = 0
    for layer in layers {
      let scratch = kernels.scratch[batch.program.kernels[layer]]
      inside = max(inside, profile.activations(around: layer) + scratch)
    }
    let waiting = max(
      profile.activations(before: ends.lowerBound), profile.activations(before: ends.upperBound))
    var bytes = chunk * inside + (batch.top.samples.count - chunk) * waiting
    for cohort in batch.cohorts.dropLast() {
      bytes += cohort.samples.count * profile.activations(before: cohort.layer)
    }
    return bytes
  }

  /// Bytes of activations of all samples of a batch while none of them is in a layer.
  func activationsAtBorders(of batch: LiveBatch) -> Int {
    let profile = models[batch.model].profile
    let (top, chunk) = (batch.top, batch.chunk)
    let ends = batch.program.segments[top.segment].layers
    var bytes =
      (chunk.lowerBound - top.samples.lowerBound) * profile.activations(before: ends.upperBound)
      + chunk.count * profile.activations(before: top.layer)
      + (top.samples.upperBound - chunk.upperBound) * profile.activations(before: ends.lowerBound)
    for cohort in batch.cohorts.dropLast() {
      bytes += cohort.samples.count * profile.activations(before: cohort.layer)
    }
    return bytes
  }

  mutating func setReservation(_ index: Int, to bytes: Int) {
    reservedBytes += bytes - batches[index].reserved
    batches[index].reserved = bytes
  }

  /// The layers that a run takes: as far as they are resident, up to a border, not too long.
  private func nextLayers(_ batch: LiveBatch) -> Range<Int>? {
    let top = batch.top
    var end = batch.program.segments[top.segment].layers.upperBound
    if batch.cohorts.count > 1 {
      let below = batch.cohorts[batch.cohorts.count - 2]
      if below.segment == top.segment, below.layer > top.layer { end = min(end, below.layer) }
    }
    // With nobody else there only late arrivals of its own model could want to join it.
    let isAlone = batches.count == 1 && waiting.allSatisfy { $0 == batch.model }
    let longest = max(
      options.maximumRun.inSeconds, isAlone ? batch.program.seconds / Self.runsOfLoneBatch : 0)
    var total = 0.0
    var layer = top.layer
    let kernels = batch.program.kernels
    while layer < end, isResident(batch.model, kernels[layer]) {
      let seconds = batch.program.layerSeconds[layer]
      if layer > top.layer, total + seconds > longest { break }
      total += seconds
      layer += 1
    }
    let isCut = layer < end && !isResident(batch.model, kernels[layer])
    // A short run would soon wait for the same page-in: better one longer run after it.
    if isCut, total < options.minimumRun.inSeconds,
      models[batch.model].inFlight[kernels[layer]] > 0
    {
      return nil
    }
    return layer > top.layer ? top.layer..<layer : nil
  }

  /// Seconds of the chunk under way through some layers.
  func seconds(_ batch: LiveBatch, layers: Range<Int>, units: Int) -> Double {
    let chunk = batch.chunk.count
    var total = 0.0
    for layer in layers {
      total += models[batch.model].costs.seconds(
        kernel: batch.program.kernels[layer], samples: chunk,
        batch: min(chunk, batch.program.layerBatches[layer]), units: units)
    }
    return total
  }
}
