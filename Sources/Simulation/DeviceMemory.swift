import Scheduling
import Vocabulary

/// The memory of the simulated device: what of each layer is resident, and the activations of
/// batches.
///
/// Of the weights of each kernel a prefix is resident; kernels are numbered through all layers of a
/// model. Weights that a plan manages come and go as it says; what runs touch without having been
/// paged in is faulted in, and what was used longest ago goes, as an operating system or a driver
/// does it.
struct DeviceMemory {
  /// Bytes of weights by model and kernel.
  let weights: [[Int]]
  /// The first kernel of each layer, by model.
  private let first: [[Int]]
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

  init(_ models: [ModelProfile], budget: Int) {
    weights = models.map { model in
      model.layers.flatMap { layer in
        (0..<layer.kernelCount).map { layer.kernel($0).weights.bytes }
      }
    }
    first = models.map { model in
      model.layers.reduce(into: [0]) { $0.append(($0.last ?? 0) + $1.kernelCount) }
    }
    self.budget = budget
    resident = weights.map { $0.map { _ in 0 } }
    lastUse = weights.map { $0.map { _ in 0 } }
  }

  var total: Int { weightBytes + activationBytes }

  /// The number of a layer's kernel among those of its model; nil when there is none such.
  func place(_ model: Int, layer: Int, kernel: Int) -> Int? {
    let place = first[model][layer] + kernel
    return kernel >= 0 && place < first[model][layer + 1] ? place : nil
  }

  func missing(_ model: Int, _ kernel: Int) -> Int {
    weights[model][kernel] - resident[model][kernel]
  }

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
    var kernel: Int
    var begin: Int
  }

  /// Weights that were set aside have come in.
  mutating func arrive(_ model: Int, _ kernel: Int, begin: Int, bytes: Int) {
    guard begin == resident[model][kernel] else {
      islands[Place(model: model, kernel: kernel, begin: begin)] = bytes
      return
    }
    resident[model][kernel] += bytes
    touch(model, kernel)
  }

  mutating func evict(_ model: Int, _ kernel: Int, keeping kept: Int) {
    let gone = resident[model][kernel] - kept
    guard gone > 0 else { return }
    resident[model][kernel] = kept
    weightBytes -= gone
  }

  /// Lets a piece go that has nothing before it; false when there is none such.
  mutating func evictIsland(_ model: Int, _ kernel: Int, begin: Int) -> Bool {
    let place = Place(model: model, kernel: kernel, begin: begin)
    guard let bytes = islands.removeValue(forKey: place) else { return false }
    weightBytes -= bytes
    return true
  }

  mutating func touch(_ model: Int, _ kernel: Int) {
    uses += 1
    lastUse[model][kernel] = uses
  }

  /// Evicts by least recent use until some more bytes fit, or nothing is left to evict.
  mutating func makeRoom(for bytes: Int, sparing isSpared: (Int, Int) -> Bool) {
    while total + bytes > budget {
      var victim: (model: Int, kernel: Int)?
      var oldest = UInt64.max
      for model in resident.indices {
        for kernel in resident[model].indices
        where resident[model][kernel] > 0 && lastUse[model][kernel] < oldest
          && !isSpared(model, kernel)
        {
          oldest = lastUse[model][kernel]
          victim = (model, kernel)
        }
      }
      guard let victim else { return }
      let kept = max(resident[victim.model][victim.kernel] - (total + bytes - budget), 0)
      evict(victim.model, victim.kernel, keeping: kept)
    }
  }

  /// Makes weights resident as far as it fits; called when its faults are served.
  mutating func fill(_ model: Int, _ kernel: Int) {
    let bytes = min(missing(model, kernel), max(budget - total, 0))
    weightBytes += bytes
    resident[model][kernel] += bytes
    peak = max(peak, total)
  }
}
