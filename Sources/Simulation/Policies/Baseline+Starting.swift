import Scheduling
import Vocabulary

/// Who goes next, and on which units.
extension Baseline {
  /// Starts one run, if any can start now.
  mutating func startOne(at now: Double, _ plan: inout Plan) -> Bool {
    let partitions: Int
    switch rules.units {
    case .all: partitions = 1
    case .marginal: return startSideBySide(at: now, &plan)
    case .partitions(let sizes, _): partitions = sizes.count
    }
    for partition in 0..<partitions
    where !runs.contains(where: { $0.partition == partition }) {
      guard let index = next(in: partition, at: now, &plan) else { continue }
      if run(index, units: size(of: partition), partition: partition, &plan) { return true }
    }
    return false
  }

  private func size(of partition: Int) -> Int {
    guard case .partitions(let sizes, _) = rules.units else { return units }
    return sizes[partition]
  }

  private func partition(of model: Int) -> Int {
    guard case .partitions(_, let places) = rules.units else { return 0 }
    return places[model]
  }

  /// The live batch that runs next in a partition, formed if need be.
  private mutating func next(
    in partition: Int, at now: Double, _ plan: inout Plan
  ) -> Int? {
    if rules.merges { growBatches(at: now, &plan) }
    let own = live.indices.filter {
      live[$0].run == nil && self.partition(of: live[$0].model) == partition
    }
    let mayForm = own.count < rules.liveLimit
    var best: (key: [Double], index: Int?, model: Int)?
    for index in own {
      let key = key(live[index].model, live[index].members[live[index].answered].arrived, now)
      if best.map({ key.lexicographicallyPrecedes($0.key) }) ?? true {
        best = (key, index, live[index].model)
      }
    }
    for model in models.indices
    where mayForm && self.partition(of: model) == partition
      && !live.contains(where: { $0.model == model })
    {
      guard batchSize(model, at: now) > 0 else { continue }
      let key = key(model, models[model].queue[0].arrived, now)
      if best.map({ key.lexicographicallyPrecedes($0.key) }) ?? true { best = (key, nil, model) }
    }
    guard let best else { return nil }
    turn = best.model + 1
    return best.index ?? form(best.model, count: batchSize(best.model, at: now), &plan)
  }

  /// Smaller goes first.
  private func key(_ model: Int, _ arrived: Double, _ now: Double) -> [Double] {
    let target = rules.targets.isEmpty ? 0 : rules.targets[model]
    switch rules.order {
    case .arrival: return [arrived]
    case .roundRobin:
      return [Double((model - turn + models.count) % max(models.count, 1)), arrived]
    case .target: return [arrived + target]
    case .newest: return [arrived + target - models[model].alone]
    case .tokens:
      // PREMA: a token is the slowdown so far; above the threshold the shortest job goes.
      let slowdown = (now - arrived) / max(models[model].alone, 1e-9)
      return [slowdown >= 1 ? 0 : 1, models[model].alone, arrived]
    }
  }

  /// Late arrivals join their model's batch as a cohort that catches up, if the slack allows it.
  private mutating func growBatches(at now: Double, _ plan: inout Plan) {
    for index in live.indices where live[index].run == nil && live[index].cohorts.count < 8 {
      let model = live[index].model
      let limit = models[model].profile.maximumBatch - live[index].samples
      guard limit > 0, live[index].answered == 0, let first = models[model].queue.first,
        first.request.samples <= limit, live[index].top.layer > 0
      else { continue }
      let oldest = live[index].members[0].arrived
      let together = live[index].samples + first.request.samples
      let rest = BaselineRules.seconds(models[model].profile, batch: together, units: units)
      let catchUp = models[model].alone
      guard rules.targets.isEmpty || oldest + rules.targets[model] > now + rest + catchUp else {
        continue
      }
      let count = batchSize(model, room: limit, at: now)
      if count > 0 { enter(index, count: count, .merge, &plan) }
    }
  }

  /// Hands out the next run of a batch; false when its weights are still on their way.
  private mutating func run(
    _ index: Int, units: Int, partition: Int, _ plan: inout Plan
  ) -> Bool {
    let batch = live[index]
    let count = models[batch.model].profile.layers.count
    var end = count
    switch rules.granularity {
    case .network: break
    case .layer: end = batch.top.layer + 1
    case .stages(let stages):
      let size = (count + stages - 1) / stages
      end = min((batch.top.layer / size + 1) * size, count)
    }
    if batch.cohorts.count > 1 {
      end = min(end, max(batch.cohorts[batch.cohorts.count - 2].layer, batch.top.layer + 1))
    }
    guard let layers = managed(index, batch.top.layer..<end, &plan) else { return false }
    nextID += 1
    let id = RunID(nextID)
    live[index].run = id
    runs.append((id, batch.id, layers, units, partition))
    let calls = rules.layerBatches.isEmpty ? [] : rules.layerBatches[batch.model][layers]
    plan.runs.append(
      Run(
        id: id, batch: batch.id, model: ModelID(Int32(batch.model)), layers: layers,
        samples: batch.top.samples, chunk: batch.top.samples.count, layerBatches: calls,
        units: units))
    return true
  }

  /// Brings weights in and drops others as the memory rule says; returns the layers that can run.
  private mutating func managed(
    _ index: Int, _ layers: Range<Int>, _ plan: inout Plan
  ) -> Range<Int>? {
    let model = live[index].model
    switch rules.memory {
    case .demand: return layers
    case .quotas(let bytes):
      weights.keepWithin(bytes[model], model, layers.lowerBound, &plan)
      return layers.lowerBound..<layers.lowerBound + 1
    case .stream:
      let last = min(layers.lowerBound + 2, models[model].profile.layers.count)
      weights.request(
        model, layers.lowerBound..<last, evictsOthers: false, activations(index), &plan)
      let isThere = weights.isResident(model, layers.lowerBound)
      return isThere || weights.isStuck ? layers.lowerBound..<layers.lowerBound + 1 : nil
    case .swap(let isPipelined, let keepsOthers):
      if !keepsOthers { weights.dropOthers(than: model, &plan) }
      let all = 0..<models[model].profile.layers.count
      weights.request(model, all, evictsOthers: true, activations(index), &plan)
      if !isPipelined, !weights.isStuck, all.contains(where: { !weights.isResident(model, $0) }) {
        return nil
      }
      let isThere = weights.isResident(model, layers.lowerBound)
      return isThere || weights.isStuck ? layers.lowerBound..<layers.lowerBound + 1 : nil
    }
  }

  /// The most bytes that the activations of live batches take.
  private func activations(_ index: Int) -> Int {
    let batch = live[index]
    let profile = models[batch.model].profile
    var before = profile.input.bytes
    var most = 0
    for layer in profile.layers {
      most = max(most, before + layer.activations.bytes + layer.scratch.bytes)
      before = layer.activations.bytes
    }
    return most * batch.samples
  }

  // MARK: Side by side

  /// Starts the next layer of a model that does not run, on the units that serve it best.
  private mutating func startSideBySide(at now: Double, _ plan: inout Plan) -> Bool {
    let free = units - runs.reduce(0) { $0 + $1.units }
    guard free > 0 else { return false }
    for model in models.indices where !live.contains(where: { $0.model == model }) {
      let count = batchSize(model, at: now)
      if count > 0 { _ = form(model, count: count, &plan) }
    }
    let ready = live.indices.filter { live[$0].run == nil }
    guard !ready.isEmpty else { return false }
    var shares = Array(repeating: 0, count: ready.count)
    for _ in 0..<free {
      var best = 0
      var gain = -1.0
      for place in ready.indices {
        let saved =
          shares[place] == 0
          ? .infinity
          : seconds(ready[place], shares[place]) - seconds(ready[place], shares[place] + 1)
        if saved > gain { (gain, best) = (saved, place) }
      }
      shares[best] += 1
    }
    // In turn, so that with fewer units than models everybody comes along.
    let order = ready.indices.sorted {
      (models[live[ready[$0]].model].lastRun, $0) < (models[live[ready[$1]].model].lastRun, $1)
    }
    guard let place = order.first(where: { shares[$0] > 0 }) else { return false }
    return run(ready[place], units: shares[place], partition: live[ready[place]].model, &plan)
  }

  /// Seconds of a batch's next layer on some units, its faults included (BARM's two terms).
  private func seconds(_ index: Int, _ units: Int) -> Double {
    let (model, layer) = (live[index].model, live[index].top.layer)
    let profile = models[model].profile.layers[layer]
    let missing = weights.isResident(model, layer) ? 0 : profile.weights.bytes
    let faults = missing > 0 ? device.demandCost(missing, units: units).seconds : 0
    return faults + profile.cost.seconds(batch: live[index].top.samples.count, units: units)
  }
}
