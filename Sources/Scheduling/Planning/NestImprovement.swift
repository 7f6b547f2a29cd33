/// Local search over loop nests: one change at a time, kept when the timeline gets better.
struct NestImprovement {
  private let planner: NestPlanner
  private var best: PlannedNest
  /// Steps that may still be laid out; a bound on the time that does not depend on the machine.
  private var budget: Int

  private static let stepBudget = 1_500_000

  init(_ planner: NestPlanner, _ start: PlannedNest) {
    self.planner = planner
    best = start
    budget = Self.stepBudget
  }

  /// Changes until none helps or the budget is spent.
  mutating func run() -> PlannedNest {
    var isBetter = true
    while isBetter, budget > 0 {
      isBetter = false
      for window in [Int.max, 1, 2, 4, 8, 16] where window != best.window {
        if consider(best.nest, window: window) { isBetter = true }
      }
      var group = 0
      while group < best.nest.groups.count {
        if improve(group) { isBetter = true }
        group += 1
      }
      if planner.chain.objective == .sum, improveGroups() { isBetter = true }
    }
    return best
  }

  private mutating func consider(_ nest: LoopNest, window: Int? = nil) -> Bool {
    guard budget > 0, nest != best.nest || window != best.window else { return false }
    guard
      let candidate = PlannedNest(planner.chain, nest, window: window ?? best.window)
    else {
      budget -= planner.chain.count
      return false
    }
    budget -= candidate.timeline.visits.count
    guard candidate.value < best.value * (1 - 1e-9) else { return false }
    best = candidate
    return true
  }

  // MARK: Segments

  private mutating func improve(_ group: Int) -> Bool {
    var isBetter = false
    var segment = 0
    while segment < best.nest.groups[group].segments.count {
      for change in changes(of: best.nest.groups[group], segment) {
        var nest = best.nest
        nest.groups[group].segments = change
        if consider(nest) {
          isBetter = true
          break
        }
      }
      segment += 1
    }
    return isBetter
  }

  private func changes(of group: LoopNest.Group, _ index: Int) -> [[LoopNest.Segment]] {
    let segments = group.segments
    let segment = segments[index]
    var result: [[LoopNest.Segment]] = []
    func replace(_ range: Range<Int>, _ parts: [LoopNest.Segment]) {
      result.append(Array(segments[..<range.lowerBound]) + parts + segments[range.upperBound...])
    }
    func make(_ layers: Range<Int>, _ chunk: Int) -> LoopNest.Segment {
      refit(layers, chunk: chunk, samples: group.samples)
    }
    let chunks = nearby(segment.chunk, most: group.samples)
    for chunk in chunks { replace(index..<index + 1, [make(segment.layers, chunk)]) }
    for (offset, batch) in segment.batches.enumerated() {
      for other in nearby(batch, most: segment.chunk) {
        var changed = segment
        changed.batches[offset] = other
        replace(index..<index + 1, [changed])
      }
    }
    if index + 1 < segments.count {
      let next = segments[index + 1]
      let both = segment.layers.lowerBound..<next.layers.upperBound
      for chunk in [segment.chunk, next.chunk] { replace(index..<index + 2, [make(both, chunk)]) }
      for shift in [-2, -1, 1, 2] {
        let border = segment.layers.upperBound + shift
        guard border > both.lowerBound, border < both.upperBound else { continue }
        replace(
          index..<index + 2,
          [
            make(both.lowerBound..<border, segment.chunk),
            make(border..<both.upperBound, next.chunk),
          ])
      }
    }
    for border in segment.layers.dropFirst() {
      for chunk in chunks + [group.samples] {
        let halves = [segment.layers.lowerBound..<border, border..<segment.layers.upperBound]
        replace(index..<index + 1, [make(halves[0], segment.chunk), make(halves[1], chunk)])
        replace(index..<index + 1, [make(halves[0], chunk), make(halves[1], segment.chunk)])
      }
    }
    return result
  }

  private func nearby(_ count: Int, most: Int) -> [Int] {
    var found: [Int] = []
    for other in [count / 2, count * 2, count - 1, count + 1, (count + most) / 2, most, 1]
    where other >= 1 && other <= most && other != count && !found.contains(other) {
      found.append(other)
    }
    return found
  }

  private func refit(_ layers: Range<Int>, chunk: Int, samples: Int) -> LoopNest.Segment {
    NestProgramme(
      chain: planner.chain, samples: samples, chunks: [], prices: [], memory: planner.chain.memory
    ).segment(layers, chunk: chunk)
  }

  // MARK: Groups

  private mutating func improveGroups() -> Bool {
    var isBetter = false
    var index = 0
    while index < best.nest.groups.count {
      for sizes in resized(best.nest.groups.map(\.samples), index) {
        guard let nest = regrouped(sizes), consider(nest) else { continue }
        isBetter = true
        break
      }
      index += 1
    }
    return isBetter
  }

  private func resized(_ sizes: [Int], _ index: Int) -> [[Int]] {
    var result: [[Int]] = []
    let size = sizes[index]
    if index + 1 < sizes.count {
      let both = size + sizes[index + 1]
      result.append(Array(sizes[..<index]) + [both] + sizes[(index + 2)...])
      for other in nearby(size, most: both - 1) {
        result.append(Array(sizes[..<index]) + [other, both - other] + sizes[(index + 2)...])
      }
    }
    for part in nearby(size, most: size - 1) where size > 1 {
      result.append(Array(sizes[..<index]) + [part, size - part] + sizes[(index + 1)...])
    }
    return result
  }

  /// Groups of other sizes: the segments of a group that had that size, or new ones.
  private func regrouped(_ sizes: [Int]) -> LoopNest? {
    var groups: [LoopNest.Group] = []
    for size in sizes {
      if let known = (best.nest.groups + groups).first(where: { $0.samples == size }) {
        groups.append(known)
        continue
      }
      guard
        let segments = planner.segments(size, prices: [1], memory: planner.chain.memory)[0]
      else { return nil }
      groups.append(.init(samples: size, segments: segments))
    }
    return LoopNest(groups: groups)
  }
}
