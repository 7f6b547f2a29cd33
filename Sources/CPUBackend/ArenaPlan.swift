/// Where the buffers and the scratch of some layers lie while these run: inside one arena, or
/// beyond it because other layers read them too.
struct ArenaPlan: Sendable {
  /// Bytes of the arena.
  private(set) var byteCount = 0
  /// The first buffer that lies in the arena, and the offsets of it and those after it; -1 for
  /// those that outlive the layers.
  private var firstBuffer = 0
  private var offsets: [Int] = []
  /// Where the scratch of each step lies, from the first of the layers on.
  private var scratch: [Int] = []
  private var firstStep = 0

  /// Steps for which the memory of a joined value may be kept before it is made.
  private static let reaches = [Int.max, 16, 4]

  /// Plans the steps of consecutive layers so that as much as possible is copied nowhere, for a
  /// sixteenth more memory than with copies at most.
  init(_ plan: Plan, layers: Range<Int>) {
    let (first, last) = (layers.first, layers.last)
    let steps =
      first.map { plan.layers[$0].lowerBound..<plan.layers[last ?? $0].upperBound } ?? 0..<0
    self.init(plan, steps, reach: 0)
    guard steps.contains(where: { !plan.steps[$0].kernel.parts.isEmpty }) else { return }
    for reach in Self.reaches {
      let joined = ArenaPlan(plan, steps, reach: reach)
      guard joined.byteCount > byteCount + byteCount / 16 else {
        self = joined
        return
      }
    }
  }

  /// Plans the largest buffers first, each at the lowest place that is free for its lifetime
  /// (greedy by size: Pisarchyk and Lee, 2020).
  ///
  /// - Parameter reach: Steps between a value and what it becomes a part of, at most.
  private init(_ plan: Plan, _ steps: Range<Int>, reach: Int) {
    let inner = plan.buffers.indices.filter { index in
      let life = plan.lifetimes[index]
      return plan.buffers[index].alias == nil && life.lowerBound >= steps.lowerBound
        && life.upperBound < steps.upperBound
    }
    firstBuffer = inner.first ?? 0
    offsets = Array(repeating: -1, count: (inner.last ?? firstBuffer - 1) + 1 - firstBuffer)
    var places = SharedPlaces(inner)
    if reach > 0 { places.joinParts(plan, steps, reach: reach) }
    places.joinHeirs(plan)
    var placed: [(range: Range<Int>, life: ClosedRange<Int>)] = []
    for family in places.families.sorted(by: { plan.size($0.whole) > plan.size($1.whole) }) {
      let lives = family.members.map { plan.lifetimes[$0.buffer] }
      let life = (lives.map(\.lowerBound).min() ?? 0)...(lives.map(\.upperBound).max() ?? 0)
      let offset = Self.lowestPlace(plan.size(family.whole), life, placed)
      placed.append((offset..<offset + plan.size(family.whole), life))
      for member in family.members {
        offsets[member.buffer - firstBuffer] = offset + member.offset
      }
      byteCount = max(byteCount, offset + plan.size(family.whole))
    }
    placeScratch(of: plan, steps, among: placed)
  }

  /// The scratch of a step lies where no buffer is alive meanwhile: layers with large values and
  /// those with much scratch are hardly ever the same.
  private mutating func placeScratch(
    of plan: Plan, _ steps: Range<Int>,
    among placed: [(range: Range<Int>, life: ClosedRange<Int>)]
  ) {
    let page = 4096
    firstStep = steps.lowerBound
    scratch = steps.map { step in
      let bytes = plan.steps[step].kernel.scratch
      guard bytes > 0 else { return 0 }
      let lowest = Self.lowestPlace(bytes + page - 1, step...step, placed)
      let offset = (lowest + page - 1) & ~(page - 1)
      byteCount = max(byteCount, (offset + bytes + 63) & ~63)
      return offset
    }
  }

  /// Where the scratch of a step begins in the arena.
  func scratch(_ step: Int) -> Int { scratch[step - firstStep] }

  /// Where a root buffer lies in the arena; nil for one that outlives the layers.
  func offset(_ buffer: Int) -> Int? {
    let place = buffer - firstBuffer
    return offsets.indices.contains(place) && offsets[place] >= 0 ? offsets[place] : nil
  }

  private static func lowestPlace(
    _ size: Int, _ life: ClosedRange<Int>,
    _ placed: [(range: Range<Int>, life: ClosedRange<Int>)]
  ) -> Int {
    var offset = 0
    let busy = placed.filter { $0.life.overlaps(life) }.map(\.range)
    for range in busy.sorted(by: { $0.lowerBound < $1.lowerBound }) {
      if offset + size <= range.lowerBound { break }
      offset = max(offset, range.upperBound)
    }
    return offset
  }
}
