import Vocabulary

extension Scheduler {
  /// What the time that weights take on the link may count beside the time that they save.
  private static let firstPrice = 1e-3
  private static let lastPrice = 1e6
  private static let halvings = 20

  /// What another choice has to gain: the weights of other kernels have to come in first.
  private static let leastGain = 0.1
  /// What one batch counts in how often batches of its model come.
  private static let shareOfOne = 0.02
  /// How much larger or smaller batches get before the choice is looked at again.
  private static let leastChange = 1.5

  /// Chooses the kernels of all models.
  ///
  /// Each model keeps to its choice whatever the batch, so that memory holds no layer twice. As
  /// long as memory holds one kernel for every layer of all models, no weights have to come in
  /// twice, and a kernel costs memory that another layer could use: a knapsack, filled by the
  /// seconds that a byte saves one sample. Otherwise every byte more of a kernel is a byte more
  /// that comes in again in each round (a cyclic sweep misses just what does not fit), and what
  /// counts is whether the link or computing takes longer for batches as they have been lately.
  mutating func settleKernels() {
    guard models.contains(where: { $0.exists && !$0.kernels.isSingle }) else { return }
    let choices = settledKernels()
    for model in models.indices where !models[model].kernels.isSingle {
      guard let choice = choices[model] else { continue }
      models[model].settledBatch = models[model].typicalBatch
      guard models[model].settled != choice else { continue }
      models[model].settled = choice
      models[model].forgetPrograms()
      refresh(model)
    }
  }

  /// Takes note of a batch that is over; other kernels may be better for others like it.
  mutating func noteBatch(of model: Int, samples: Int) {
    models[model].noteBatch(samples: samples)
    guard budget != nil, !models[model].kernels.isSingle else { return }
    for other in models.indices { models[other].batchShare *= 1 - Self.shareOfOne }
    models[model].batchShare += Self.shareOfOne
    let change = models[model].typicalBatch / models[model].settledBatch
    if change > Self.leastChange || change * Self.leastChange < 1 { settleKernels() }
  }

  /// The kernels at the least price of memory with which they fit, or those with which a round of
  /// all models takes least time.
  private func settledKernels() -> [[Int]?] {
    if fits(chosen(0)) { return chosen(0) }
    guard fits(chosen(.infinity)) else { return steadyKernels() }
    var (low, high) = (0.0, Self.firstPrice)
    while !fits(chosen(high)) {
      (low, high) = (high, high * 4)
      if high > Self.lastPrice { return chosen(.infinity) }
    }
    for _ in 0..<Self.halvings {
      let middle = (low + high) / 2
      if fits(chosen(middle)) { high = middle } else { low = middle }
    }
    return chosen(high)
  }

  /// For each model that there is the kernels that are best for one sample.
  private func chosen(_ price: Double) -> [[Int]?] {
    models.indices.map { models[$0].exists ? cheapestKernels($0, price, batch: 1) : nil }
  }

  /// The kernels with which batches as they have been lately take least time, of those that come
  /// out at several prices of the link; those that models have, unless others are clearly better.
  private func steadyKernels() -> [[Int]?] {
    let current = models.map { $0.exists ? $0.settled : nil }
    var best = (choices: current, seconds: secondsOfRound(current) * (1 - Self.leastGain))
    if models.contains(where: { $0.exists && $0.settledBatch == 0 }) { best.seconds = .infinity }
    for price in [0, 0.25, 0.5, 1, 2, 4, .infinity] {
      let choices = models.indices.map { model in
        models[model].exists
          ? cheapestKernels(model, price, batch: Int(models[model].typicalBatch.rounded())) : nil
      }
      let seconds = secondsOfRound(choices)
      if seconds < best.seconds { best = (choices, seconds) }
    }
    return best.choices
  }

  /// Seconds of a batch of each model, as often as each comes: the longer of computing and of what
  /// has to come in when all of them go round.
  func secondsOfRound(_ choices: [[Int]?]) -> Double {
    var (weights, compute, bytes) = (0, 0.0, 0.0)
    for (model, choice) in choices.enumerated() {
      guard let choice else { continue }
      let state = models[model]
      let size = choice.reduce(0) { $0 + state.kernels.weights[$1] }
      let batch = Int(state.typicalBatch.rounded())
      weights += size
      bytes += state.batchShare * Double(size)
      for kernel in choice {
        compute +=
          state.batchShare * state.costs.seconds(kernel: kernel, batch: batch, units: options.units)
      }
    }
    let missing = max(1 - Double(budget ?? weights) / Double(max(weights, 1)), 0)
    let transfer = bytes * missing / link.bytesPerSecond
    return max(compute, transfer) + transfer * ProgramBuilder.priceOfLink
  }

  private func cheapestKernels(_ model: Int, _ price: Double, batch: Int) -> [Int] {
    let (kernels, costs) = (models[model].kernels, models[model].costs)
    guard price < .infinity else { return kernels.smallest }
    return kernels.defaults.indices.map { layer in
      func cost(_ kernel: Int) -> Double {
        costs.seconds(kernel: kernel, batch: batch, units: options.units)
          + price * link.seconds(bytes: kernels.bytes(kernel, samples: 1))
      }
      return kernels.kernels(of: layer).min { cost($0) < cost($1) } ?? kernels.first[layer]
    }
  }

  /// Whether memory holds the weights of some kernels beside one sample of any model.
  private func fits(_ choices: [[Int]?]) -> Bool {
    guard let budget else { return true }
    var (weights, most) = (0, 0)
    for (model, choice) in choices.enumerated() {
      guard let choice else { continue }
      let (kernels, profile) = (models[model].kernels, models[model].profile)
      for (layer, kernel) in choice.enumerated() {
        weights += kernels.weights[kernel]
        most = max(most, profile.activations(around: layer) + kernels.scratch[kernel])
      }
    }
    return weights + most <= budget
  }
}
