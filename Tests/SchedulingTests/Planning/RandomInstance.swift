import Scheduling

/// SplitMix64: the same numbers for the same seed everywhere.
struct SeededRandom: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }
}

extension Instance {
  /// A small network on a device with too little memory for it, but enough to run.
  static func random(
    seed: UInt64, layers: ClosedRange<Int> = 1...4, samples: ClosedRange<Int> = 1...4,
    objective: Objective, prefetch: Bool, page: Double? = nil
  ) -> Instance {
    var random = SeededRandom(seed: seed)
    let count = Int.random(in: layers, using: &random)
    let network = (0..<count).map { _ in
      Layer(
        weights: Double(Int.random(in: 0...200, using: &random)) / 10,
        activations: Double(Int.random(in: 1...80, using: &random)) / 10,
        time: .linear(
          fixed: Double(Int.random(in: 0...20, using: &random)) / 10,
          perSample: Double(Int.random(in: 1...20, using: &random)) / 10))
    }
    let number = Int.random(in: samples, using: &random)
    var (least, everything, before) = (0.0, 0.0, 0.0)
    for (index, layer) in network.enumerated() {
      let after = index == count - 1 ? 0 : layer.activations
      least = max(least, layer.kernels[0].weights + before + after)
      everything += layer.kernels[0].weights + after * Double(number)
      before = after
    }
    let tightness = Double.random(in: 0...1, using: &random)
    return Instance(
      layers: network, samples: number,
      memory: least + tightness * tightness * max(everything - least, 0) + 0.001,
      linkRate: [1, 5, 10].randomElement(using: &random) ?? 1,
      linkLatency: [0, 0.03, 0.2].randomElement(using: &random) ?? 0, prefetch: prefetch,
      objective: objective, page: page)
  }
}
