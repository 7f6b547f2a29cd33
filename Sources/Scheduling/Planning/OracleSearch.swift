/// The search behind `Oracle`.
struct OracleSearch {
  /// How a search ended.
  enum Outcome {
    case found(Script, Double)
    case nothingBetter
    case limitReached
  }

  /// A state that was reached, and the step that led to it.
  struct Label {
    /// Objective so far.
    var cost: Double
    /// Objective so far and at least what is to come.
    var estimate: Double
    /// How long the link is still busy when the step is over.
    var busy: Double
    /// What it is busy with, or -1.
    var inFlight: Int
    /// Samples before each layer, four bits a layer.
    var counts: UInt64
    /// Layers that are resident or on their way and will be used again.
    var mask: UInt32
    /// The same with those that will not.
    var resident: UInt32
    var parent: Int
    var visit: Visit
    /// Layers loaded in the step, four bits each plus one, first in the lowest bits.
    var loads: UInt64
    var isDominated = false
  }

  let chain: Chain
  private let bounds: LowerBound
  private var labels: [Label] = []
  private var heap = LabelHeap()
  private var places: [Key: Int] = [:]
  private var frontiers: [[Int]] = []
  private let bound: Double
  /// States that may still be reached.
  private var budget: Int

  private struct Key: Hashable {
    var counts: UInt64
    var mask: UInt32
  }

  /// Searches for a plan whose objective is below a bound.
  static func run(_ chain: Chain, below bound: Double, states: Int) -> Outcome {
    var search = OracleSearch(chain, below: bound, states: states)
    return search.search()
  }

  private init(_ chain: Chain, below bound: Double, states: Int) {
    budget = states
    self.chain = chain
    bounds = LowerBound(chain)
    // What is equal but for rounding is not better.
    self.bound = bound.isFinite ? bound - abs(bound) * 1e-9 : bound
  }

  private mutating func search() -> Outcome {
    // Layers without weights are always there.
    var mask = UInt32(0)
    for layer in 0..<chain.count where chain.weights[layer] == 0 { mask |= 1 << UInt32(layer) }
    insert(
      Label(
        cost: 0, estimate: 0, busy: 0, inFlight: -1, counts: UInt64(chain.samples), mask: mask,
        resident: mask, parent: -1, visit: Visit(layer: 0, samples: 0), loads: 0))
    while let index = heap.popFirst() {
      let label = labels[index]
      if label.isDominated { continue }
      if label.counts == 0 { return .found(script(endingAt: index), label.cost) }
      expand(label, index)
      if budget <= 0 { return .limitReached }
    }
    return .nothingBetter
  }

  // MARK: Steps

  private func samples(_ counts: UInt64, before layer: Int) -> Int {
    Int(counts >> UInt64(4 * layer) & 15)
  }

  /// Layers that some sample has not passed.
  private func needed(_ counts: UInt64) -> UInt32 {
    guard counts != 0 else { return 0 }
    let first = counts.trailingZeroBitCount / 4
    return (UInt32(1) << UInt32(chain.count)) - (UInt32(1) << UInt32(first))
  }

  private func weights(_ mask: UInt32) -> Double {
    var total = 0.0
    var rest = mask
    while rest != 0 {
      total += chain.weights[rest.trailingZeroBitCount]
      rest &= rest - 1
    }
    return total
  }

  private mutating func expand(_ label: Label, _ index: Int) {
    var (held, unfinished) = (0.0, 0)
    for layer in 0..<chain.count {
      let count = samples(label.counts, before: layer)
      held += Double(count) * chain.held[layer]
      unfinished += count
    }
    let pace = chain.objective == .makespan ? 1 : Double(unfinished)
    for layer in 0..<chain.count {
      let waiting = samples(label.counts, before: layer)
      for batch in stride(from: waiting, to: 0, by: -1) {
        let frame =
          chain.memory - held - Double(batch) * chain.added[layer] - chain.scratch[layer]
        var counts = label.counts - UInt64(batch) << UInt64(4 * layer)
        if layer + 1 < chain.count { counts += UInt64(batch) << UInt64(4 * (layer + 1)) }
        var step = StepOptions(
          parent: index, visit: Visit(layer: layer, samples: batch), counts: counts,
          frame: frame, pace: pace, needed: needed(counts), duration: chain.time(layer, batch))
        step.fixed = UInt32(1) << UInt32(layer)
        if label.inFlight >= 0 { step.fixed |= UInt32(1) << UInt32(label.inFlight) }
        guard weights(step.fixed) <= frame + Chain.tolerance else { continue }
        begin(step, label)
      }
    }
  }

  /// One step with everything but its page-ins and evictions decided.
  private struct StepOptions {
    var parent: Int
    var visit: Visit
    var counts: UInt64
    /// What weights may take.
    var frame: Double
    /// Objective per millisecond.
    var pace: Double
    /// Layers that will be used after the step.
    var needed: UInt32
    var duration: Double
    /// Layers that have to be resident in the step.
    var fixed: UInt32 = 0
    /// When it ends, from the end of the step before.
    var end = 0.0
  }

  private mutating func begin(_ options: StepOptions, _ label: Label) {
    var step = options
    let bit = UInt32(1) << UInt32(step.visit.layer)
    if label.mask & bit != 0 {
      let waits = label.inFlight == step.visit.layer ? label.busy : 0
      step.end = waits + step.duration
      extend(step, label, link: label.busy, last: label.inFlight, loads: 0)
    } else {
      let arrival = label.busy + chain.transfer(chain.weights[step.visit.layer])
      step.end = arrival + step.duration
      extend(
        step, label, link: arrival, last: step.visit.layer, loads: UInt64(step.visit.layer + 1))
    }
  }

  /// Reaches the states after a step with some page-ins, then tries one more of them.
  private mutating func extend(
    _ step: StepOptions, _ label: Label, link: Double, last: Int, loads: UInt64
  ) {
    let busy = max(link - step.end, 0)
    var reached = Label(
      cost: label.cost + step.pace * step.end, estimate: 0, busy: busy > 1e-12 ? busy : 0,
      inFlight: busy > 1e-12 ? last : -1, counts: step.counts, mask: 0, resident: 0,
      parent: step.parent, visit: step.visit, loads: loads)
    let optional = label.mask & step.needed & ~step.fixed
    for kept in maximal(of: optional, room: step.frame - weights(step.fixed)) {
      reached.resident = kept | step.fixed
      reached.mask = reached.resident & step.needed
      insert(reached)
    }
    guard chain.prefetch, link < step.end, budget > 0 else { return }
    var candidates = step.needed & ~label.mask & ~step.fixed
    while candidates != 0 {
      let layer = candidates.trailingZeroBitCount
      candidates &= candidates - 1
      var next = step
      next.fixed |= UInt32(1) << UInt32(layer)
      guard weights(next.fixed) <= step.frame + Chain.tolerance else { continue }
      let count = UInt64(64 - loads.leadingZeroBitCount + 3) / 4
      extend(
        next, label, link: link + chain.transfer(chain.weights[layer]), last: layer,
        loads: loads | UInt64(layer + 1) << (4 * count))
    }
  }

  /// The sets of layers that fit and to which none can be added: more is never worse.
  private func maximal(of optional: UInt32, room: Double) -> [UInt32] {
    if weights(optional) <= room + Chain.tolerance { return [optional] }
    var found: [UInt32] = []
    var subset = optional
    while true {
      let free = room - weights(subset)
      if free >= -Chain.tolerance {
        var rest = optional & ~subset
        var isMaximal = true
        while rest != 0, isMaximal {
          isMaximal = chain.weights[rest.trailingZeroBitCount] > free + Chain.tolerance
          rest &= rest - 1
        }
        if isMaximal { found.append(subset) }
      }
      if subset == 0 { return found }
      subset = (subset - 1) & optional
    }
  }

  // MARK: States

  private mutating func insert(_ label: Label) {
    budget -= 1
    var label = label
    label.estimate = label.cost + remaining(label)
    guard label.estimate < bound else { return }
    let unfinished = (0..<chain.count).reduce(0) { $0 + samples(label.counts, before: $1) }
    let pace = chain.objective == .makespan ? 1 : Double(unfinished)
    let key = Key(counts: label.counts, mask: label.mask)
    let place: Int
    if let known = places[key] {
      place = known
    } else {
      place = frontiers.count
      places[key] = place
      frontiers.append([])
    }
    for other in frontiers[place] where dominates(labels[other], label, pace) { return }
    let index = labels.count
    var frontier: [Int] = []
    swap(&frontier, &frontiers[place])
    frontier.removeAll { other in
      let isWorse = dominates(label, labels[other], pace)
      if isWorse { labels[other].isDominated = true }
      return isWorse
    }
    frontier.append(index)
    swap(&frontier, &frontiers[place])
    labels.append(label)
    heap.insert(index, label.estimate)
  }

  /// Whether one state is no worse than another, perhaps after waiting until its link is as free.
  private func dominates(_ one: Label, _ other: Label, _ pace: Double) -> Bool {
    let wait =
      one.inFlight == other.inFlight || one.busy == 0 ? max(one.busy - other.busy, 0) : one.busy
    return one.cost + pace * wait <= other.cost + 1e-12
  }

  private func script(endingAt index: Int) -> Script {
    var path: [Label] = []
    var place = index
    while labels[place].parent >= 0 {
      path.append(labels[place])
      place = labels[place].parent
    }
    var resident = UInt32(0)
    var steps: [Script.Step] = []
    for label in path.reversed() {
      var step = Script.Step(visit: label.visit)
      let dropped = resident & ~label.resident
      for layer in 0..<chain.count
      where dropped & 1 << UInt32(layer) != 0 && chain.weights[layer] > 0 {
        step.drops.append(.init(layer: layer, megabytes: chain.weights[layer]))
      }
      var loads = label.loads
      while loads != 0 {
        let layer = Int(loads & 15) - 1
        step.loads.append(.init(layer: layer, megabytes: chain.weights[layer]))
        loads >>= 4
      }
      resident = label.resident
      steps.append(step)
    }
    return Script(steps: steps)
  }

  /// At least what is to come.
  private func remaining(_ label: Label) -> Double {
    bounds.remaining(
      busy: label.busy, samples: { samples(label.counts, before: $0) },
      isMissing: { label.mask & 1 << UInt32($0) == 0 })
  }
}

/// Indices by their estimates, smallest first; of equals the later one, which is nearer to the end.
struct LabelHeap {
  private var items: [(index: Int, estimate: Double)] = []

  private func isBefore(_ left: Int, _ right: Int) -> Bool {
    (items[left].estimate, -items[left].index) < (items[right].estimate, -items[right].index)
  }

  mutating func insert(_ index: Int, _ estimate: Double) {
    items.append((index, estimate))
    var child = items.count - 1
    while child > 0, isBefore(child, (child - 1) / 2) {
      items.swapAt(child, (child - 1) / 2)
      child = (child - 1) / 2
    }
  }

  mutating func popFirst() -> Int? {
    guard let first = items.first else { return nil }
    let last = items.removeLast()
    guard !items.isEmpty else { return first.index }
    items[0] = last
    var parent = 0
    while true {
      var least = parent
      for child in [2 * parent + 1, 2 * parent + 2] where child < items.count {
        if isBefore(child, least) { least = child }
      }
      if least == parent { return first.index }
      items.swapAt(parent, least)
      parent = least
    }
  }
}
