import Scheduling

/// The memory of the simulated device: what of each layer is resident, and the activations of
/// batches.
///
/// Of each layer a prefix is resident. Weights that a plan manages come and go as it says; what
/// runs touch without having been paged in is faulted in, and the layer used longest ago goes, as a
/// kernel or a driver does it.
struct DeviceMemory {
  /// Bytes of weights by model and layer.
  private(set) var weights: [[Int]]
  private(set) var resident: [[Int]]
  /// Pieces that came in behind one that failed, by where they begin.
  private var islands: [Place: Int] = [:]
  private var lastUse: [[UInt64]]
  private var uses: UInt64 = 0
  /// Bytes of weights that are resident or on their way.
  private(set) var weightBytes = 0
  /// Bytes of activations and scratch.
  private(set) var activationBytes = 0
  private(set) var peak = 0
  var budget: Int

  init(weights: [[Int]], budget: Int) {
    self.weights = weights
    self.budget = budget
    resident = weights.map { $0.map { _ in 0 } }
    lastUse = weights.map { $0.map { _ in 0 } }
  }

  var total: Int { weightBytes + activationBytes }

  /// Adds a model of which nothing is resident.
  mutating func add(_ layers: [Int]) {
    weights.append(layers)
    resident.append(layers.map { _ in 0 })
    lastUse.append(layers.map { _ in 0 })
  }

  func missing(_ model: Int, _ layer: Int) -> Int { weights[model][layer] - resident[model][layer] }

  mutating func changeActivations(by bytes: Int) {
    activationBytes += bytes
    peak = max(peak, total)
  }

  /// Sets memory aside for weights that are on their way.
  mutating func reserve(_ bytes: Int) {
    weightBytes += bytes
    peak = max(peak, total)
  }

  /// Gives back what was set aside and did not come.
  mutating func release(_ bytes: Int) { weightBytes -= bytes }

  private struct Place: Hashable {
    var model: Int
    var layer: Int
    var begin: Int
  }

  /// Weights that were set aside have come in.
  mutating func arrive(_ model: Int, _ layer: Int, begin: Int, bytes: Int) {
    guard begin == resident[model][layer] else {
      islands[Place(model: model, layer: layer, begin: begin)] = bytes
      return
    }
    resident[model][layer] += bytes
    touch(model, layer)
  }

  mutating func evict(_ model: Int, _ layer: Int, keeping kept: Int) {
    let gone = resident[model][layer] - kept
    guard gone > 0 else { return }
    resident[model][layer] = kept
    weightBytes -= gone
  }

  /// Lets a piece go that has nothing before it; false when there is none such.
  mutating func evictIsland(_ model: Int, _ layer: Int, begin: Int) -> Bool {
    let place = Place(model: model, layer: layer, begin: begin)
    guard let bytes = islands.removeValue(forKey: place) else { return false }
    weightBytes -= bytes
    return true
  }

  mutating func touch(_ model: Int, _ layer: Int) {
    uses += 1
    lastUse[model][layer] = uses
  }

  /// Evicts by least recent use until some more bytes fit, or nothing is left to evict.
  ///
  /// - Parameters:
  ///   - page: What stays of a layer is a multiple of this.
  ///   - evicted: Told of the model, the layer and its bytes that go.
  mutating func makeRoom(
    for bytes: Int, page: Int = 1, sparing isSpared: (Int, Int) -> Bool,
    evicted: (Int, Int, Range<Int>) -> Void = { _, _, _ in }
  ) {
    while total + bytes > budget {
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
      let kept = max(there - (total + bytes - budget), 0) / page * page
      evicted(victim.model, victim.layer, kept..<there)
      evict(victim.model, victim.layer, keeping: kept)
    }
  }

  /// Makes a layer resident as far as it fits; called when its faults are served.
  mutating func fill(_ model: Int, _ layer: Int) {
    let bytes = min(missing(model, layer), max(budget - total, 0))
    weightBytes += bytes
    resident[model][layer] += bytes
    peak = max(peak, total)
  }
}
