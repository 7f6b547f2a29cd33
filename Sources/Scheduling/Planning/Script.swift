/// Steps with what is dropped and brought in for each, in the order in which it happens.
///
/// The one place where planned times come from, whoever made the plan: a step starts when the step
/// before it is over and its weights are there; a transfer starts when the link is free and the
/// step before the one it stands under is over.
struct Script: Sendable {
  /// Megabytes of a layer of the chain.
  struct Amount: Sendable, Equatable {
    var layer: Int
    var megabytes: Double
  }

  /// One step.
  struct Step: Sendable, Equatable {
    var visit: Visit
    var drops: [Amount] = []
    var loads: [Amount] = []
  }

  var steps: [Step]

  /// The steps with their times, in terms of the instance's layers.
  func timed(_ chain: Chain) -> [NetworkPlan.Step] {
    var result: [NetworkPlan.Step] = []
    result.reserveCapacity(steps.count)
    var arrival = Array(repeating: 0.0, count: chain.count)
    var (clock, link, resident, held) = (0.0, 0.0, 0.0, 0.0)
    for step in steps {
      let visit = step.visit
      var transfers: [NetworkPlan.Transfer] = []
      for drop in step.drops { resident -= drop.megabytes }
      for load in step.loads {
        let begin = max(link, clock)
        link = begin + chain.transfer(load.megabytes)
        arrival[load.layer] = link
        resident += load.megabytes
        transfers.append(
          .init(
            layer: chain.origins[load.layer].layer, megabytes: load.megabytes, start: begin,
            end: link))
      }
      let begin = max(clock, arrival[visit.layer])
      clock = begin + chain.time(visit.layer, visit.samples)
      let batch = Double(visit.samples)
      let origin = chain.origins[visit.layer]
      result.append(
        NetworkPlan.Step(
          layer: origin.layer,
          tile: origin.tiles > 1 ? .init(index: origin.tile, count: origin.tiles) : nil,
          samples: visit.samples, start: begin, end: clock,
          drops: step.drops.map {
            .init(layer: chain.origins[$0.layer].layer, megabytes: $0.megabytes)
          },
          transfers: transfers, weights: max(resident, 0),
          activations: held + batch * chain.added[visit.layer] + chain.scratch[visit.layer]))
      held += batch * (chain.held[visit.layer + 1] - chain.held[visit.layer])
    }
    return result
  }
}

extension Timeline {
  /// The steps with their drops and loads: weights are dropped as late as the room allows, those
  /// that are never used again first, then those whose next use is farthest.
  func script(_ chain: Chain) -> Script {
    var next = Array(repeating: Int.max, count: visits.count)
    var upcoming = Array(repeating: Int.max, count: chain.count)
    for step in visits.indices.reversed() {
      next[step] = upcoming[visits[step].layer]
      upcoming[visits[step].layer] = step
    }
    var spare = SpareWeights(count: chain.count, page: chain.page)
    var steps: [Script.Step] = []
    steps.reserveCapacity(visits.count)
    var nextLoad = 0
    for (index, visit) in visits.enumerated() {
      var step = Script.Step(visit: visit)
      while nextLoad < loads.count, loads[nextLoad].step == index {
        let load = loads[nextLoad]
        // What was not planned to stay makes way before the same layer comes in again.
        spare.drop(load.layer, into: &step)
        step.loads.append(.init(layer: load.layer, megabytes: load.megabytes))
        spare.resident += load.megabytes
        nextLoad += 1
      }
      spare.shrink(to: room[index], into: &step)
      steps.append(step)
      let stays = next[index] == .max ? 0 : kept[next[index]]
      spare.release(visit.layer, chain.weights[visit.layer] - stays, next: next[index])
    }
    return Script(steps: steps)
  }
}

/// Resident weights that no plan counts on any more.
private struct SpareWeights {
  private var amounts: [Double]
  private var nextUse: [Int]
  private let page: Double?
  /// All resident weights, spare or not.
  var resident = 0.0

  init(count: Int, page: Double?) {
    amounts = Array(repeating: 0, count: count)
    nextUse = Array(repeating: .max, count: count)
    self.page = page
  }

  mutating func release(_ layer: Int, _ megabytes: Double, next: Int) {
    amounts[layer] = megabytes > Chain.tolerance ? megabytes : 0
    nextUse[layer] = next
  }

  mutating func drop(_ layer: Int, atMost limit: Double = .infinity, into step: inout Script.Step) {
    guard amounts[layer] > 0 else { return }
    var megabytes = amounts[layer]
    if let page, limit < megabytes {
      megabytes = min(megabytes, (limit / page - Chain.tolerance).rounded(.up) * page)
    }
    amounts[layer] -= megabytes
    if amounts[layer] <= Chain.tolerance { amounts[layer] = 0 }
    resident -= megabytes
    step.drops.append(.init(layer: layer, megabytes: megabytes))
  }

  mutating func shrink(to room: Double, into step: inout Script.Step) {
    while resident > room + Chain.tolerance {
      var victim: Int?
      for layer in amounts.indices where amounts[layer] > 0 {
        if victim.map({ nextUse[layer] > nextUse[$0] }) ?? true { victim = layer }
      }
      guard let victim else { return }
      drop(victim, atMost: resident - room, into: &step)
    }
  }
}
