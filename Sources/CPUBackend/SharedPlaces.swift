/// Buffers of an arena that lie inside others.
struct SharedPlaces {
  /// A buffer with all that lie in it.
  struct Family {
    var whole: Int
    var members: [(buffer: Int, offset: Int)]
  }

  private let buffers: [Int]
  /// For each buffer that lies in another one: in which, and from where on.
  private var inside: [Int: (whole: Int, offset: Int)] = [:]
  private var wholes: Set<Int> = []

  init(_ buffers: [Int]) { self.buffers = buffers }

  var families: [Family] {
    var families: [Int: Family] = [:]
    for buffer in buffers {
      let (whole, offset) = place(buffer)
      families[whole, default: Family(whole: whole, members: [])].members.append(
        (buffer, offset))
    }
    return families.keys.sorted().compactMap { families[$0] }
  }

  /// The outermost buffer around a buffer, and where the latter begins in it.
  private func place(_ buffer: Int) -> (whole: Int, offset: Int) {
    var (place, offset) = (buffer, 0)
    while let next = inside[place] { (place, offset) = (next.whole, offset + next.offset) }
    return (place, offset)
  }

  /// Lets what a kernel would copy lie in its place already: inputs of a Concat in its output,
  /// outputs of a Split in its input.
  ///
  /// - Parameter reach: Steps between the writing of one and of the other, at most.
  mutating func joinParts(_ plan: Plan, _ steps: Range<Int>, reach: Int) {
    let mine = Set(buffers)
    for step in steps {
      let operands = plan.steps[step].operands
      for part in plan.steps[step].kernel.parts {
        guard case .buffer(let inner) = operands[part.part],
          case .buffer(let outer) = operands[part.whole]
        else { continue }
        let (small, large) = (plan.root(inner), plan.root(outer))
        let begins = [small, large].map { plan.lifetimes[$0].lowerBound }
        let bytes = plan.byteCount(small)
        guard mine.contains(small), mine.contains(large), small != place(large).whole,
          inside[small] == nil, abs(begins[0] - begins[1]) <= reach,
          // Neighbours begin where lines of the cache do.
          part.offset % 64 == 0, bytes % 64 == 0, part.offset + bytes <= plan.size(large)
        else { continue }
        inside[small] = (large, part.offset)
        wholes.insert(large)
      }
    }
  }

  /// Lets buffers take over the memory of those that are dead by then, inside, and of their size.
  ///
  /// What others lie in, or what lies in others, is left as it is.
  mutating func joinHeirs(_ plan: Plan) {
    let mine = Set(buffers)
    var elders: Set<Int> = []
    let parts = Set(inside.keys)
    for buffer in buffers where !parts.contains(buffer) && !wholes.contains(buffer) {
      guard let wish = plan.buffers[buffer].successorOf else { continue }
      let elder = plan.root(wish)
      guard mine.contains(elder), !parts.contains(elder), !wholes.contains(elder),
        plan.size(elder) == plan.size(buffer),
        plan.lifetimes[elder].upperBound == plan.lifetimes[buffer].lowerBound,
        elders.insert(elder).inserted
      else { continue }
      inside[buffer] = (elder, 0)
    }
  }
}
