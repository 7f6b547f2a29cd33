import Vocabulary

extension Scheduler {
  /// The units that a run of a batch gets: all that are free, or fewer where that is better.
  ///
  /// Two runs go side by side only if their weighted completions improve by more than they slow each
  /// other down. Layers that scale with the units never gain by it (two equal jobs: both late instead
  /// of one early); layers that do not scale give units away.
  mutating func unitsFor(_ index: Int, layers: Range<Int>, at now: Instant) -> Int {
    guard options.executors > 1, models[batches[index].model].costs.isKnown else {
      return min(freeUnits, max(options.units / max(options.executors, 1), 1))
    }
    guard options.features.contains(.unitSplit) else {
      return running.isEmpty ? options.units : 0
    }
    let alone = seconds(batches[index], layers: layers, units: options.units)
    guard running.isEmpty else {
      let beside = seconds(batches[index], layers: layers, units: freeUnits) * (1 + interference)
      return beside < secondsUntilFree(at: now) + alone ? freeUnits : 0
    }
    guard let partner = partner(of: index) else {
      return fewestUnits(batches[index], layers, alone)
    }
    let own = batches[index].remaining
    let (worth, other) = (batches[index].worth, partner.seconds)
    var best = (worth + partner.worth) * own + partner.worth * other
    var units = options.units
    for share in 1..<max(options.units, 2) where share < options.units {
      let slowdown = (1 + interference) * seconds(batches[index], layers: layers, units: share)
      let first = own * slowdown / max(alone, 1e-12)
      let rest = options.units - share
      let second =
        other * (1 + interference) * wholeSeconds(partner.model, partner.samples, units: rest)
        / max(wholeSeconds(partner.model, partner.samples, units: options.units), 1e-12)
      let sum = worth * first + partner.worth * second
      if sum < best, max(first, second) < own + other { (best, units) = (sum, share) }
    }
    return units == options.units ? fewestUnits(batches[index], layers, alone) : units
  }

  /// What could run beside a batch: another live one that can go on, or the best that can begin.
  private func partner(
    of index: Int
  ) -> (model: Int, samples: Int, seconds: Double, worth: Double)? {
    for other in batches.indices where other != index && batches[other].run == nil {
      let batch = batches[other]
      guard isResident(batch.model, layer: batch.top.layer) else { continue }
      return (batch.model, batch.samples, batch.remaining, batch.worth)
    }
    let own = batches[index].model
    for model in agenda.models where model != own && summaries[model].canBegin {
      let summary = summaries[model]
      guard models[model].costs.isKnown, summary.samples > 0 else { continue }
      return (model, summary.samples, serviceSeconds(summary), summary.worth)
    }
    return nil
  }

  /// Seconds of a whole network layer by layer.
  private func wholeSeconds(_ model: Int, _ samples: Int, units: Int) -> Double {
    var total = 0.0
    for layer in models[model].weights.indices {
      total += models[model].costs.seconds(layer: layer, batch: samples, units: units)
    }
    return total
  }

  /// The fewest units with which a run takes hardly longer than with all.
  private func fewestUnits(_ batch: LiveBatch, _ layers: Range<Int>, _ alone: Double) -> Int {
    var units = options.units
    while units > 1, seconds(batch, layers: layers, units: units - 1) <= alone * 1.02 {
      units -= 1
    }
    return min(units, freeUnits)
  }

  private func secondsUntilFree(at now: Instant) -> Double {
    var left = 0.0
    for run in running { left = max(left, run.predicted - (now - run.started).inSeconds) }
    return left
  }
}
