import Vocabulary

extension Scheduler {
  /// What the time that weights take on the link may count beside the time that they save.
  private static let firstPrice = 1e-3
  private static let lastPrice = 1e6
  private static let halvings = 20

  /// Chooses the kernels of all models as long as memory holds one for every layer of them.
  ///
  /// Then no weights have to come in twice, and a kernel costs memory that another layer could use:
  /// a knapsack, filled by the seconds that a byte saves one sample. Each model keeps to its choice
  /// whatever the batch, so that memory holds no layer twice. Otherwise every byte more of a kernel
  /// is a byte more that comes in again in each round (a cyclic sweep misses just what does not
  /// fit), and each program weighs that for itself.
  mutating func settleKernels() {
    guard models.contains(where: { $0.exists && !$0.kernels.isSingle }) else { return }
    let choices = settledKernels()
    for model in models.indices where !models[model].kernels.isSingle {
      guard models[model].settled != choices[model] else { continue }
      models[model].settled = choices[model]
      models[model].forgetPrograms()
      if models[model].exists { refresh(model) }
    }
  }

  /// The kernels at the least price of memory with which they fit; none when no price suffices.
  private func settledKernels() -> [[Int]?] {
    func chosen(_ price: Double) -> [[Int]?] {
      models.indices.map { models[$0].exists ? cheapestKernels($0, price) : nil }
    }
    if fits(chosen(0)) { return chosen(0) }
    guard fits(chosen(.infinity)) else { return models.map { _ in nil } }
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

  private func cheapestKernels(_ model: Int, _ price: Double) -> [Int] {
    let (kernels, costs) = (models[model].kernels, models[model].costs)
    guard price < .infinity else { return kernels.smallest }
    return kernels.defaults.indices.map { layer in
      func cost(_ kernel: Int) -> Double {
        costs.seconds(kernel: kernel, batch: 1, units: options.units)
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
