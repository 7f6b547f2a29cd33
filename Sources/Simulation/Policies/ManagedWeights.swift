import Scheduling
import Vocabulary

/// What a baseline that manages memory itself believes to be resident, and what it asks for.
struct ManagedWeights: Sendable {
  private struct Transfer: Sendable {
    var id: PageInID
    var model: Int
    var layer: Int
    var bytes: Int
  }

  var budget: Int
  private let page: Int
  private var sizes: [[Int]] = []
  private var resident: [[Int]] = []
  private var lastUse: [[Int]] = []
  private var uses = 0
  private var transfers: [Transfer] = []
  private var bytes = 0
  private var nextID: UInt64 = 0
  /// Nothing is on its way and nothing more fits: what is missing must be faulted in.
  private(set) var isStuck = false

  init(budget: Int, page: Int) {
    self.budget = budget
    self.page = max(page, 1)
  }

  mutating func add(_ profile: ModelProfile) {
    sizes.append(profile.layers.map(\.weights.bytes))
    resident.append(profile.layers.map { _ in 0 })
    lastUse.append(profile.layers.map { _ in 0 })
  }

  func isResident(_ model: Int, _ layer: Int) -> Bool {
    resident[model][layer] >= sizes[model][layer]
      && !transfers.contains { $0.model == model && $0.layer == layer }
  }

  mutating func used(_ model: Int, _ layer: Int) {
    uses += 1
    lastUse[model][layer] = uses
  }

  mutating func land(_ id: PageInID) { transfers.removeAll { $0.id == id } }

  /// Forgets a page-in that failed; returns the model that misses it.
  mutating func miss(_ id: PageInID) -> Int? {
    guard let place = transfers.firstIndex(where: { $0.id == id }) else { return nil }
    let transfer = transfers.remove(at: place)
    resident[transfer.model][transfer.layer] -= transfer.bytes
    bytes -= transfer.bytes
    return transfer.model
  }

  /// Asks for layers that are not there, whole and in order, as far as there is room.
  mutating func request(
    _ model: Int, _ layers: Range<Int>, evictsOthers: Bool, _ activations: Int, _ plan: inout Plan
  ) {
    isStuck = false
    for layer in layers where resident[model][layer] < sizes[model][layer] {
      let missing = sizes[model][layer] - resident[model][layer]
      while evictsOthers, bytes + missing + activations > budget {
        guard let victim = leastRecentModel(besides: model) else { break }
        for layer in sizes[victim].indices { evict(victim, layer, &plan) }
      }
      while evictsOthers, bytes + missing + activations > budget {
        // A model larger than memory: its own layers behind make room.
        guard
          let old = resident[model].indices.first(where: {
            $0 < layers.lowerBound && resident[model][$0] > 0
          }) ?? leastRecentLayer(model, before: layer)
        else { break }
        evict(model, old, &plan)
      }
      guard bytes + missing + activations <= budget else {
        isStuck = transfers.isEmpty
        return
      }
      nextID += 1
      let id = PageInID(nextID)
      plan.pageIns.append(
        PageIn(
          id: id, model: ModelID(Int32(model)), layer: layer,
          bytes: resident[model][layer]..<sizes[model][layer]))
      transfers.append(Transfer(id: id, model: model, layer: layer, bytes: missing))
      resident[model][layer] = sizes[model][layer]
      bytes += missing
    }
  }

  private func leastRecentModel(besides model: Int) -> Int? {
    sizes.indices.filter { other in
      other != model && resident[other].contains { $0 > 0 }
        && !transfers.contains { $0.model == other }
    }.min { (lastUse[$0].max() ?? 0) < (lastUse[$1].max() ?? 0) }
  }

  /// A layer of the model that already ran in this pass.
  private func leastRecentLayer(_ model: Int, before layer: Int) -> Int? {
    resident[model].indices.filter {
      $0 < layer && resident[model][$0] > 0 && isResident(model, $0)
        && lastUse[model][$0] == uses && uses > 0
    }.first
  }

  mutating func dropOthers(than model: Int, _ plan: inout Plan) {
    for other in sizes.indices
    where other != model && !transfers.contains(where: { $0.model == other }) {
      for layer in sizes[other].indices { evict(other, layer, &plan) }
    }
  }

  mutating func drop(_ model: Int, _ layers: Range<Int>, _ plan: inout Plan) {
    for layer in layers { evict(model, layer, &plan) }
  }

  /// Makes room for a layer inside a model's quota; the layer itself is faulted in.
  mutating func keepWithin(_ quota: Int, _ model: Int, _ layer: Int, _ plan: inout Plan) {
    let needed = sizes[model][layer]
    guard resident[model][layer] < needed else { return }
    while resident[model].reduce(0, +) + needed > quota {
      let victim = resident[model].indices.filter { resident[model][$0] > 0 && $0 != layer }
        .min { lastUse[model][$0] < lastUse[model][$1] }
      guard let victim else { break }
      evict(model, victim, &plan)
    }
    bytes += needed - resident[model][layer]
    resident[model][layer] = needed
  }

  private mutating func evict(_ model: Int, _ layer: Int, _ plan: inout Plan) {
    let there = resident[model][layer]
    guard there > 0, !transfers.contains(where: { $0.model == model && $0.layer == layer }) else {
      return
    }
    plan.evictions.append(
      Eviction(model: ModelID(Int32(model)), layer: layer, bytes: 0..<there))
    resident[model][layer] = 0
    bytes -= there
  }
}
