import Vocabulary

extension Scheduler {
  // MARK: What is there

  func isResident(_ model: Int, layer: Int) -> Bool {
    budget == nil || models[model].resident[layer] >= models[model].weights[layer]
  }

  func totalWeights(_ model: Int) -> Int { models[model].weightBytes }

  /// Bytes of weights that a batch still has to wait for.
  func missingBytes(of batch: LiveBatch) -> Int {
    guard budget != nil else { return 0 }
    let state = models[batch.model]
    var missing = 0
    for layer in batch.top.layer..<state.weights.count {
      missing += state.weights[layer] - state.resident[layer]
    }
    return missing
  }

  /// The least memory with which some samples of a model get through, one at a time: the best of
  /// all ways to cut its layers into segments at whose ends the others wait.
  func memoryNeeded(_ model: Int, samples: Int) -> Int {
    let profile = models[model].profile
    let weights = models[model].weights
    // The least that the layers before each border need.
    var least = Array(repeating: Int.max, count: weights.count + 1)
    least[0] = 0
    for start in weights.indices {
      var (inside, largest) = (0, 0)
      for layer in start..<weights.count {
        inside = max(inside, profile.activations(in: layer))
        largest = max(largest, weights[layer])
        let waiting = max(
          profile.activations(before: start), profile.activations(before: layer + 1))
        let need = (samples - 1) * waiting + inside + largest
        least[layer + 1] = min(least[layer + 1], max(least[start], need))
      }
    }
    return least[weights.count]
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
    var layers = state.profile.layers
    for layer in layers.indices { layers[layer].weights = ByteCount(state.weights[layer]) }
    let builder = ProgramBuilder(
      layers: layers, input: state.profile.input.bytes, costs: state.costs, link: link,
      units: options.units, memory: budget,
      perLayer: options.features.contains(.layerBatches))
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
    models[model].inFlight[transfer.layer] -= transfer.bytes
    guard transfer.begin == models[model].resident[transfer.layer] else {
      // What was to come before it failed or was let go meanwhile, and a layer has no holes.
      plan.evictions.append(
        Eviction(
          model: ModelID(Int32(model)), layer: transfer.layer,
          bytes: transfer.begin..<transfer.begin + transfer.bytes))
      return
    }
    residentBytes += transfer.bytes
    models[model].resident[transfer.layer] += transfer.bytes
    models[model].residentBytes += transfer.bytes
    models[model].lowestResident = min(models[model].lowestResident, transfer.layer)
    models[model].highestResident = max(models[model].highestResident, transfer.layer)
    models[model].lastUse[transfer.layer] = now
    if models[model].exists {
      refresh(model)
    } else {
      evict(model, transfer.layer, keeping: 0, &plan)
    }
  }

  /// Takes note of weights that cannot come in: what needs them is lost.
  mutating func miss(_ id: PageInID, _ plan: inout Plan) {
    guard let place = transfers.firstIndex(where: { $0.id == id }) else { return }
    let transfer = transfers.remove(at: place)
    inFlightBytes -= transfer.bytes
    models[transfer.model].inFlight[transfer.layer] -= transfer.bytes
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
    for model in models.indices where models[model].exists {
      for samples in models[model].programs.indices { models[model].programs[samples] = nil }
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
      shorten(victim.model, victim.layer, by: over, &plan)
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
      shorten(victim.model, victim.layer, by: over, &plan)
    }
    return true
  }

  /// Resident bytes that cannot be evicted now: of layers that run, are kept, or are on their way.
  private func pinnedBytes(keeping kept: Kept) -> Int {
    var total = 0
    for layer in kept.layers { total += models[kept.model].resident[layer] }
    for run in running {
      guard let model = model(of: run) else { continue }
      for layer in run.layers where !kept.contains(model, layer) {
        total += models[model].resident[layer]
      }
    }
    for (place, transfer) in transfers.enumerated() {
      let (model, layer) = (transfer.model, transfer.layer)
      let isCounted =
        kept.contains(model, layer) || isRunning(model, layer)
        || transfers[..<place].contains { $0.model == model && $0.layer == layer }
      if !isCounted { total += models[model].resident[layer] }
    }
    return total
  }

  /// Drops pages from the end of a layer.
  mutating func shorten(_ model: Int, _ layer: Int, by bytes: Int, _ plan: inout Plan) {
    // Of what is large whole frames: the next page-in can take their memory over as it is.
    let (page, frame) = (max(options.pageBytes.bytes, 1), options.frameBytes.bytes)
    let unit = models[model].weights[layer] >= frame ? max(frame, page) : page
    let left = max(models[model].resident[layer] - bytes, 0)
    evict(model, layer, keeping: left / unit * unit, &plan)
  }

  /// Drops what a layer has beyond some bytes.
  mutating func evict(_ model: Int, _ layer: Int, keeping kept: Int, _ plan: inout Plan) {
    let there = models[model].resident[layer]
    guard there > kept else { return }
    plan.evictions.append(
      Eviction(model: ModelID(Int32(model)), layer: layer, bytes: kept..<there))
    models[model].resident[layer] = kept
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
