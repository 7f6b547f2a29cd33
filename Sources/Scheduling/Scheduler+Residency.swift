import Vocabulary

extension Scheduler {
  // MARK: What is there

  /// Whether all weights of a kernel are in memory.
  func isResident(_ model: Int, _ kernel: Int) -> Bool {
    budget == nil || models[model].resident[kernel] >= models[model].kernels.weights[kernel]
  }

  func totalWeights(_ model: Int) -> Int { models[model].weightBytes }

  /// Bytes of weights that a batch still has to wait for.
  func missingBytes(of batch: LiveBatch) -> Int {
    missingBytes(batch.model, batch.program.kernels[batch.top.layer...])
  }

  /// Bytes of the weights of some kernels that have to come in.
  func missingBytes(_ model: Int, _ kernels: ArraySlice<Int>) -> Int {
    budget == nil ? 0 : models[model].missingBytes(of: kernels)
  }

  /// Bytes of weights in memory that the next batch of a model finds there.
  func usefulBytes(_ model: Int) -> Int {
    guard !models[model].kernels.isSingle else { return models[model].residentBytes }
    var bytes = 0
    for kernel in models[model].upcomingKernels { bytes += models[model].resident[kernel] }
    return bytes
  }

  /// The least memory with which some samples of a model get through, one at a time and by its
  /// smallest kernels: the best of all ways to cut it into segments at whose ends the others wait.
  func memoryNeeded(_ model: Int, samples: Int) -> Int {
    let (profile, kernels) = (models[model].profile, models[model].kernels)
    let (count, smallest) = (profile.layers.count, kernels.smallest)
    // The least that the layers before each border need.
    var least = Array(repeating: Int.max, count: count + 1)
    least[0] = 0
    for start in 0..<count {
      var (inside, largest) = (0, 0)
      for layer in start..<count {
        let kernel = smallest[layer]
        inside = max(inside, profile.activations(around: layer) + kernels.scratch[kernel])
        largest = max(largest, kernels.weights[kernel])
        let waiting = max(
          profile.activations(before: start), profile.activations(before: layer + 1))
        let need = (samples - 1) * waiting + inside + largest
        least[layer + 1] = min(least[layer + 1], max(least[start], need))
      }
    }
    return least[count]
  }

  /// The most samples of a model that fit into memory together; 0 when not even one does.
  func largestBatch(_ model: Int) -> Int {
    let maximum = models[model].profile.maximumBatch
    guard let budget else { return maximum }
    var (low, high) = (0, maximum)
    while low < high {
      let middle = (low + high + 1) / 2
      // With a batch for each layer, chunks of one sample always are a way through.
      if memoryNeeded(model, samples: middle) <= budget,
        options.features.contains(.layerBatches) || program(fresh: model, samples: middle) != nil
      {
        low = middle
      } else {
        high = middle - 1
      }
    }
    return low
  }

  /// How some samples of a model go through it; made at first need, then kept.
  mutating func program(_ model: Int, samples: Int) -> BatchProgram? {
    guard models[model].programs.indices.contains(samples) else {
      return program(fresh: model, samples: samples)
    }
    if let known = models[model].programs[samples] { return known }
    let made = program(fresh: model, samples: samples)
    models[model].programs[samples] = made
    return made
  }

  private func program(fresh model: Int, samples: Int) -> BatchProgram? {
    let state = models[model]
    let builder = ProgramBuilder(
      profile: state.profile, kernels: state.kernels, costs: state.costs, link: link,
      units: options.units, memory: budget,
      perLayer: options.features.contains(.layerBatches), settled: state.settled)
    return builder.program(samples: samples)
  }

  // MARK: What happens

  /// Takes note of weights that have come in.
  mutating func land(
    _ id: PageInID, took: Duration, at now: Instant, _ plan: inout Plan
  ) {
    guard let place = transfers.firstIndex(where: { $0.id == id }) else { return }
    let transfer = transfers.remove(at: place)
    let model = transfer.model
    link.learn(bytes: transfer.bytes, took: took.inSeconds)
    inFlightBytes -= transfer.bytes
    models[model].inFlight[transfer.kernel] -= transfer.bytes
    guard transfer.begin == models[model].resident[transfer.kernel] else {
      // What was to come before it failed or was let go meanwhile, and a layer has no holes.
      tell(
        model, transfer.kernel, evicts: transfer.begin..<transfer.begin + transfer.bytes, &plan)
      return
    }
    residentBytes += transfer.bytes
    models[model].resident[transfer.kernel] += transfer.bytes
    models[model].residentBytes += transfer.bytes
    models[model].lowestResident = min(models[model].lowestResident, transfer.kernel)
    models[model].highestResident = max(models[model].highestResident, transfer.kernel)
    models[model].lastUse[transfer.kernel] = now
    if models[model].exists {
      refresh(model)
    } else {
      evict(model, transfer.kernel, keeping: 0, &plan)
    }
  }

  /// Takes note of weights that cannot come in: what needs them is lost.
  mutating func miss(_ id: PageInID, _ plan: inout Plan) {
    guard let place = transfers.firstIndex(where: { $0.id == id }) else { return }
    let transfer = transfers.remove(at: place)
    inFlightBytes -= transfer.bytes
    models[transfer.model].inFlight[transfer.kernel] -= transfer.bytes
    for index in batches.indices.reversed()
    where batches[index].model == transfer.model && batches[index].run == nil {
      lose(index, .failed, &plan)
    }
    reject(from: transfer.model, reason: .failed, &plan) { _ in true }
  }

  /// Takes note of another budget: evicts, plans anew, refuses what cannot fit any more.
  mutating func changeBudget(to bytes: Int, _ plan: inout Plan) {
    budget = bytes
    // Smaller batches of the same requests may fit.
    for index in batches.indices.reversed() where batches[index].run == nil {
      let need = batches[index].program.segments[batches[index].top.segment].need
      if need > bytes { putBack(index, &plan) }
    }
    settleKernels()
    for model in models.indices where models[model].exists {
      models[model].forgetPrograms()
      models[model].largestBatch = largestBatch(model)
      rejectTooLarge(model, &plan)
    }
    for model in waiting { refresh(model) }
  }

  /// Evicts what the budget has no room for: a cut may have met layers that ran or were on their
  /// way, which cannot go before that is over.
  mutating func evictBeyondBudget(_ plan: inout Plan) {
    guard let budget else { return }
    while residentBytes + inFlightBytes + reservedBytes > budget {
      guard let victim = victim(neededAfter: -1, keeping: nil) else { return }
      let over = residentBytes + inFlightBytes + reservedBytes - budget
      shorten(victim.model, victim.kernel, by: over, &plan)
    }
  }

  /// Rejects what waits for a model and needs more memory than there is now.
  mutating func rejectTooLarge(_ model: Int, _ plan: inout Plan) {
    let largest = models[model].largestBatch
    let isWhole = models[model].profile.maximumBatch == 1
    let needed = ByteCount(memoryNeeded(model, samples: largest + 1))
    reject(from: model, reason: .insufficientMemory(needed: needed), &plan) {
      (isWhole ? 1 : $0.samples) > largest
    }
  }

  // MARK: Room

  /// Evicts until some bytes are free; false, with nothing evicted, when that cannot be.
  mutating func makeRoom(_ bytes: Int, keeping kept: Kept, _ plan: inout Plan) -> Bool {
    guard let budget, bytes > 0 else { return true }
    let used = inFlightBytes + reservedBytes + pinnedBytes(keeping: kept)
    guard used + bytes <= budget else { return false }
    while residentBytes + inFlightBytes + reservedBytes + bytes > budget {
      guard let victim = victim(neededAfter: -1, keeping: kept) else { return false }
      let over = residentBytes + inFlightBytes + reservedBytes + bytes - budget
      shorten(victim.model, victim.kernel, by: over, &plan)
    }
    return true
  }

  /// Resident bytes that cannot be evicted now: of kernels that run, are kept, or are on their way.
  private func pinnedBytes(keeping kept: Kept) -> Int {
    var total = 0
    for kernel in kept.kernels { total += models[kept.model].resident[kernel] }
    for run in running {
      guard let index = batch(of: run) else { continue }
      let model = batches[index].model
      for kernel in batches[index].program.kernels[run.layers]
      where !kept.contains(model, kernel) {
        total += models[model].resident[kernel]
      }
    }
    for (place, transfer) in transfers.enumerated() {
      let (model, kernel) = (transfer.model, transfer.kernel)
      let isCounted =
        kept.contains(model, kernel) || isRunning(model, kernel)
        || transfers[..<place].contains { $0.model == model && $0.kernel == kernel }
      if !isCounted { total += models[model].resident[kernel] }
    }
    return total
  }

  /// Drops pages from the end of a kernel's weights.
  mutating func shorten(_ model: Int, _ kernel: Int, by bytes: Int, _ plan: inout Plan) {
    // Of what is large whole frames: the next page-in can take their memory over as it is.
    let (page, frame) = (max(options.pageBytes.bytes, 1), options.frameBytes.bytes)
    let unit = models[model].kernels.weights[kernel] >= frame ? max(frame, page) : page
    let left = max(models[model].resident[kernel] - bytes, 0)
    evict(model, kernel, keeping: left / unit * unit, &plan)
  }

  private func tell(_ model: Int, _ kernel: Int, evicts bytes: Range<Int>, _ plan: inout Plan) {
    let kernels = models[model].kernels
    plan.evictions.append(
      Eviction(
        model: ModelID(Int32(model)), layer: kernels.layers[kernel],
        kernel: kernels.number(of: kernel), bytes: bytes))
  }

  /// Drops what a kernel's weights have beyond some bytes.
  mutating func evict(_ model: Int, _ kernel: Int, keeping kept: Int, _ plan: inout Plan) {
    let there = models[model].resident[kernel]
    guard there > kept else { return }
    tell(model, kernel, evicts: kept..<there, &plan)
    models[model].resident[kernel] = kept
    models[model].residentBytes -= there - kept
    residentBytes -= there - kept
    while models[model].lowestResident < models[model].resident.count - 1,
      models[model].resident[models[model].lowestResident] == 0
    {
      models[model].lowestResident += 1
    }
    while models[model].highestResident >= 0,
      models[model].resident[models[model].highestResident] == 0
    {
      models[model].highestResident -= 1
    }
    refresh(model)
  }
}
