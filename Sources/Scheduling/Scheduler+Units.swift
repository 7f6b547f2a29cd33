import Vocabulary

extension Scheduler {
  /// The units that a run of a batch gets: all that are free, or fewer where that is better.
  ///
  /// Two batches go side by side only if their weighted completions improve and the units are used
  /// no worse, although they slow each other down. Batches that scale with the units never gain by
  /// it (two equal jobs: both late instead of one early); those that do not scale give units away.
  /// What counts is the whole rest of a batch: a single layer that does not scale is too short to
  /// fill beside it.
  mutating func unitsFor(_ index: Int, layers: Range<Int>, at now: Instant) -> Int {
    guard options.executors > 1, models[batches[index].model].costs.isKnown else {
      return min(freeUnits, max(options.units / max(options.executors, 1), 1))
    }
    guard options.features.contains(.unitSplit) else {
      return running.isEmpty ? options.units : 0
    }
    let batch = batches[index]
    let alone = restSeconds(batch, options.units)
    guard running.isEmpty else {
      let beside =
        restSeconds(batch, freeUnits) * (1 + interference)
      let isEfficient = beside * Double(freeUnits) <= alone * Double(options.units)
      return isEfficient && beside < secondsUntilFree(at: now) + alone ? freeUnits : 0
    }
    let fewest = fewestUnits(batch, alone)
    guard fewest == options.units, let partner = partner(of: index) else { return fewest }
    return split(batch, alone, partner)
  }

  /// The units for a batch beside a partner, or all of them.
  private func split(_ batch: LiveBatch, _ alone: Double, _ partner: Partner) -> Int {
    let (own, worth, other) = (batch.remaining, batch.worth, partner.seconds)
    let otherAlone = restSeconds(
      partner.model, partner.samples, partner.kernels, options.units)
    // One after the other, in the better order.
    var best =
      (worth + partner.worth) * min(own, other)
      + (own < other ? partner.worth * other : worth * own)
    var units = options.units
    for quarter in 1...3 {
      let share = max(options.units * quarter / 4, 1)
      let rest = options.units - share
      guard rest > 0 else { continue }
      let slow = 1 + interference
      let first =
        own * slow * restSeconds(batch, share) / max(alone, 1e-12)
      let second =
        other * slow * restSeconds(partner.model, partner.samples, partner.kernels, rest)
        / max(otherAlone, 1e-12)
      let sum = worth * first + partner.worth * second
      // No more unit-seconds than one after the other: what waits behind must not pay for it.
      let spent = Double(share) * first + Double(rest) * second
      if sum < best, spent <= Double(options.units) * (own + other) { (best, units) = (sum, share) }
    }
    return units
  }

  /// What could run beside a batch.
  private struct Partner {
    var model: Int
    var samples: Int
    /// Those that it still has to go through.
    var kernels: ArraySlice<Int>
    var seconds: Double
    var worth: Double
  }

  /// Another live batch that can go on, or the best of those that would be formed and can begin.
  private func partner(of index: Int) -> Partner? {
    for other in batches.indices where other != index && batches[other].run == nil {
      let batch = batches[other]
      let kernels = batch.program.kernels[batch.top.layer...]
      guard isResident(batch.model, kernels[batch.top.layer]) else { continue }
      return Partner(
        model: batch.model, samples: batch.samples, kernels: kernels, seconds: batch.remaining,
        worth: batch.worth)
    }
    for model in agenda.models where model != batches[index].model && summaries[model].canBegin {
      let summary = summaries[model]
      guard models[model].costs.isKnown, summary.samples > 0 else { continue }
      return Partner(
        model: model, samples: summary.samples, kernels: models[model].upcomingKernels[...],
        seconds: serviceSeconds(summary), worth: summary.worth)
    }
    return nil
  }

  /// Seconds of all samples of a batch through the layers that are left.
  private func restSeconds(_ batch: LiveBatch, _ units: Int) -> Double {
    restSeconds(
      batch.model, batch.samples, batch.program.kernels[batch.top.layer...], units)
  }

  /// Seconds of some samples through some kernels.
  private func restSeconds(
    _ model: Int, _ samples: Int, _ kernels: ArraySlice<Int>, _ units: Int
  ) -> Double {
    var total = 0.0
    for kernel in kernels {
      total += models[model].costs.seconds(kernel: kernel, batch: samples, units: units)
    }
    return total
  }

  /// The fewest units, halving them, with which the rest of a batch takes hardly longer than with
  /// all.
  private func fewestUnits(_ batch: LiveBatch, _ alone: Double) -> Int {
    var units = options.units
    while units > 1,
      restSeconds(batch, units / 2) <= alone * 1.02
    {
      units /= 2
    }
    return min(units, freeUnits)
  }

  private func secondsUntilFree(at now: Instant) -> Double {
    var left = 0.0
    for run in running { left = max(left, run.predicted - (now - run.started).inSeconds) }
    return left
  }
}
