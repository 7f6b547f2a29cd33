import Scheduling
import Vocabulary

/// The device: what happens to runs, weights and activations.
extension Simulator {
  // MARK: Batches

  mutating func accept(_ batch: Batch) {
    let model = batch.model.index
    var known = batches[batch.id] ?? DeviceBatch(model: model, positions: [])
    if known.positions.count != batch.samples.lowerBound {
      violate("batch \(batch.id.rawValue) grew from the wrong sample")
    }
    known.positions += Array(repeating: 0, count: batch.samples.count)
    batches[batch.id] = known
    settle(batch.id)
    batchSamples += batch.samples.count
    report.meanBatch += batch.samples.lowerBound == 0 ? 1 : 0
  }

  mutating func release(_ id: BatchID) {
    guard let batch = batches.removeValue(forKey: id) else {
      return violate("batch \(id.rawValue) was over before")
    }
    memory.changeActivations(by: -batch.bytes)
    if runs.contains(where: { $0.run.batch == id }) {
      violate("batch \(id.rawValue) is over while it runs")
    }
  }

  /// Counts the activations of a batch anew: every sample holds what lives at its border, those in
  /// a kernel call hold what goes in, what comes out, and scratch.
  private mutating func settle(_ id: BatchID, running: (layer: Int, run: Run)? = nil) {
    guard var batch = batches[id] else { return }
    let profile = workload.models[batch.model].profile
    var bytes = 0
    for position in batch.positions where position < profile.layers.count {
      bytes += border(profile, position)
    }
    if let (layer, run) = running {
      bytes += run.samples.count * profile.layers[layer].activations.bytes
      bytes += calls(of: run, layer) * kernel(of: run, layer).scratch.bytes
    }
    memory.changeActivations(by: bytes - batch.bytes)
    batch.bytes = bytes
    batches[id] = batch
  }

  private func border(_ profile: ModelProfile, _ layer: Int) -> Int {
    layer == 0 ? profile.input.bytes : profile.layers[layer - 1].activations.bytes
  }

  // MARK: Runs

  /// Samples of one call of a layer.
  private func calls(of run: Run, _ layer: Int) -> Int {
    min(run.layerBatches.isEmpty ? run.chunk : run.layerBatches[layer], run.chunk)
  }

  private func kernel(of run: Run, _ layer: Int) -> KernelProfile {
    let profile = workload.models[run.model.index].profile.layers[layer]
    let number = run.kernels.isEmpty ? 0 : run.kernels[layer]
    return profile.kernel((0..<profile.kernelCount).contains(number) ? number : 0)
  }

  /// Where the weights stand that a run needs for a layer.
  private func place(of run: Run, _ layer: Int) -> Int {
    place(run.model, layer, run.kernels.isEmpty ? 0 : run.kernels[layer])
  }

  /// Where the weights of a kernel stand.
  private mutating func checkedPlace(_ model: ModelID, _ layer: Int, _ kernel: Int) -> Int {
    if memory.place(model.index, layer: layer, kernel: kernel) == nil {
      violate("layer \(layer) of model \(model.index) has no kernel \(kernel)")
    }
    return place(model, layer, kernel)
  }

  private func place(_ model: ModelID, _ layer: Int, _ kernel: Int) -> Int {
    memory.place(model.index, layer: layer, kernel: kernel)
      ?? memory.place(model.index, layer: layer, kernel: 0) ?? 0
  }

  mutating func accept(_ run: Run) {
    guard let batch = batches[run.batch] else {
      return violate("run \(run.id.rawValue) names no batch")
    }
    for sample in run.samples where batch.positions[sample] != run.layers.lowerBound {
      violate("sample \(sample) of batch \(run.batch.rawValue) skips or repeats a layer")
    }
    runs.append(ActiveRun(run: run, layer: run.layers.lowerBound, started: now))
    beginLayer(runs.count - 1)
  }

  /// Faults in what the next layer misses; then it can compute.
  private mutating func beginLayer(_ index: Int) {
    let active = runs[index]
    let model = active.run.model.index
    runs[index].isComputing = false
    settle(active.run.batch, running: (active.layer, active.run))
    checkTotals()
    let kernel = place(of: active.run, active.layer)
    let missing = memory.missing(model, kernel)
    if isPlanned, missing > 0 {
      violate("layer \(active.layer) of model \(model) runs without \(missing) bytes")
    }
    let busy = runs.map { (model: $0.run.model.index, kernel: place(of: $0.run, $0.layer)) }
    // What a policy plans goes only when it says so, also while a cut of the budget is made up for.
    if !isPlanned || missing > 0 {
      memory.makeRoom(for: missing) { model, kernel in
        busy.contains { $0.model == model && $0.kernel == kernel }
      }
    }
    let spilled = max(memory.total + missing - memory.budget, 0)
    guard missing > 0 || spilled > 0 else { return computeLayer(active.run.id) }
    let cost = workload.device.demandCost(missing, units: active.run.units)
    report.faultBatches += missing > 0 ? cost.faultBatches : 0
    report.movedMegabytes += Double(missing) / 1e6
    memory.fill(model, kernel)
    // Activations beyond memory go out and come back (section 5.1 of the problem statement).
    let spill = spilled > missing ? 2 * Double(spilled - missing) : 0
    let seconds =
      (missing > 0 ? cost.seconds : 0)
      + spill / (workload.device.demand.gigabytesPerSecond * 1e9)
    linkFree = max(linkFree, now) + seconds / linkSpeed
    queue.push(.layerReady(active.run.id), at: linkFree)
  }

  mutating func computeLayer(_ id: RunID) {
    guard let index = runs.firstIndex(where: { $0.run.id == id }) else { return }
    let (run, layer) = (runs[index].run, runs[index].layer)
    runs[index].isComputing = true
    memory.touch(run.model.index, place(of: run, layer))
    let cost = kernel(of: run, layer).cost
    let batch = calls(of: run, layer)
    let (whole, rest) = run.samples.count.quotientAndRemainder(dividingBy: max(batch, 1))
    var seconds = Double(whole) * cost.seconds(batch: batch, units: run.units)
    if rest > 0 { seconds += cost.seconds(batch: rest, units: run.units) }
    if runs.count > 1 { seconds *= 1 + workload.device.interference }
    if !pageIns.isEmpty { seconds *= 1 + (workload.device.link.slowdown ?? 0) }
    seconds *= 1 + workload.noise * (2 * random.uniform() - 1)
    queue.push(.layerDone(id), at: now + seconds)
  }

  mutating func finishLayer(_ id: RunID) {
    guard let index = runs.firstIndex(where: { $0.run.id == id }) else { return }
    let active = runs[index]
    for sample in active.run.samples {
      batches[active.run.batch]?.positions[sample] = active.layer + 1
    }
    settle(active.run.batch)
    runs[index].layer += 1
    if runs[index].layer < active.run.layers.upperBound { return beginLayer(index) }
    runs.remove(at: index)
    if random.chance(workload.faults.runFailure) {
      watch?.trouble()
      return deliver(.runFailed(id))
    }
    deliver(.runFinished(id, took: .nanoseconds(Int64((now - active.started) * 1e9))))
  }

  // MARK: Weights

  private var linkSpeed: Double {
    let speeds = workload.faults.linkSpeed
    return speeds.isEmpty ? 1 : max(speeds[Int(now) % speeds.count], 1e-3)
  }

  mutating func evict(_ eviction: Eviction) {
    let model = eviction.model.index
    let kernel = checkedPlace(eviction.model, eviction.layer, eviction.kernel)
    if runs.contains(where: {
      $0.run.model == eviction.model && $0.run.layers.contains(eviction.layer)
        && $0.layer <= eviction.layer && place(of: $0.run, eviction.layer) == kernel
    }) {
      violate("layer \(eviction.layer) of model \(model) is evicted while it runs")
    }
    if memory.evictIsland(model, kernel, begin: eviction.bytes.lowerBound) { return }
    if isPlanned, memory.resident[model][kernel] != eviction.bytes.upperBound {
      // The policy rounds the end of a layer up to whole pages.
      let rounded = memory.weights[model][kernel]
      if memory.resident[model][kernel] != rounded {
        violate("layer \(eviction.layer) of model \(model) is evicted where it is not resident")
      }
    }
    memory.evict(model, kernel, keeping: eviction.bytes.lowerBound)
  }

  mutating func accept(_ pageIn: PageIn) {
    _ = checkedPlace(pageIn.model, pageIn.layer, pageIn.kernel)
    memory.reserve(bytes(of: pageIn))
    pageIns.append(pageIn)
    if pageIns.count == 1 { startPageIn() }
  }

  /// The bytes that really come in: the last page of a layer is not full.
  private func bytes(of pageIn: PageIn) -> Int {
    let end = memory.weights[pageIn.model.index][
      place(pageIn.model, pageIn.layer, pageIn.kernel)]
    return max(min(pageIn.bytes.upperBound, end) - pageIn.bytes.lowerBound, 0)
  }

  private mutating func startPageIn() {
    let seconds = workload.device.pageInSeconds(bytes(of: pageIns[0])) / linkSpeed
    pageInStarted = now
    linkFree = max(linkFree, now) + seconds
    queue.push(.pagedIn, at: linkFree)
  }

  mutating func finishPageIn() {
    let pageIn = pageIns.removeFirst()
    let bytes = bytes(of: pageIn)
    if !pageIns.isEmpty { startPageIn() }
    if random.chance(workload.faults.pageInFailure) {
      memory.release(bytes)
      watch?.trouble()
      return deliver(.pageInFailed(pageIn.id))
    }
    report.movedMegabytes += Double(bytes) / 1e6
    memory.arrive(
      pageIn.model.index, place(pageIn.model, pageIn.layer, pageIn.kernel),
      begin: pageIn.bytes.lowerBound, bytes: bytes)
    deliver(.pagedIn(pageIn.id, took: .nanoseconds(Int64((now - pageInStarted) * 1e9))))
  }
}
