/// What `PageFaults` has in memory: of each layer a prefix, and the activations of batches.
///
/// Layers as an engine has them: each with one kernel, and of a layer one page-in at a time.
struct ServedMemory: Sendable {
  /// Bytes of weights by model and layer.
  private(set) var weights: [[Int]] = []
  private(set) var resident: [[Int]] = []
  private var lastUse: [[UInt64]] = []
  private var uses: UInt64 = 0
  /// Bytes of weights that are resident or on their way.
  private(set) var weightBytes = 0
  /// Bytes of activations and scratch.
  private var activationBytes = 0
  var budget: Int
  private let page: Int

  /// - Parameter page: What stays of a layer is a multiple of this.
  init(budget: Int, page: Int) {
    self.budget = budget
    self.page = max(page, 1)
  }

  /// Adds a model of which nothing is resident.
  mutating func add(_ layers: [Int]) {
    weights.append(layers)
    resident.append(layers.map { _ in 0 })
    lastUse.append(layers.map { _ in 0 })
  }

  func missing(_ model: Int, _ layer: Int) -> Int { weights[model][layer] - resident[model][layer] }

  mutating func changeActivations(by bytes: Int) { activationBytes += bytes }

  /// Sets memory aside for weights that are on their way.
  mutating func reserve(_ bytes: Int) { weightBytes += bytes }

  /// Gives back what was set aside and did not come.
  mutating func release(_ bytes: Int) { weightBytes -= bytes }

  /// Weights that were set aside have come in.
  mutating func arrive(_ model: Int, _ layer: Int, bytes: Int) {
    resident[model][layer] += bytes
    touch(model, layer)
  }

  mutating func evict(_ model: Int, _ layer: Int, keeping kept: Int) {
    weightBytes -= resident[model][layer] - kept
    resident[model][layer] = kept
  }

  mutating func touch(_ model: Int, _ layer: Int) {
    uses += 1
    lastUse[model][layer] = uses
  }

  /// Evicts by least recent use until some more bytes fit, or nothing is left to evict.
  ///
  /// - Parameter evicted: Told of the model, the layer and its bytes that go.
  mutating func makeRoom(
    for bytes: Int, sparing isSpared: (Int, Int) -> Bool, evicted: (Int, Int, Range<Int>) -> Void
  ) {
    while weightBytes + activationBytes + bytes > budget {
      var victim: (model: Int, layer: Int)?
      var oldest = UInt64.max
      for model in resident.indices {
        for layer in resident[model].indices
        where resident[model][layer] > 0 && lastUse[model][layer] < oldest
          && !isSpared(model, layer)
        {
          oldest = lastUse[model][layer]
          victim = (model, layer)
        }
      }
      guard let victim else { return }
      let there = resident[victim.model][victim.layer]
      let excess = weightBytes + activationBytes + bytes - budget
      let kept = max(there - excess, 0) / page * page
      evicted(victim.model, victim.layer, kept..<there)
      evict(victim.model, victim.layer, keeping: kept)
    }
  }
}
