import Vocabulary

/// A batch on its way: its requests and how far its samples have come.
struct LiveBatch: Sendable {
  /// Samples that have come equally far.
  ///
  /// The cohorts of a batch form a stack: late arrivals are put on top, run until they have caught
  /// up with those below, and join them.
  struct Cohort: Sendable {
    var samples: Range<Int>
    /// The segment of the batch's program.
    var segment: Int
    /// The first sample of the chunk under way.
    var chunkStart: Int
    /// The next layer of the chunk under way.
    var layer: Int
  }

  /// A request with the end of its samples in the batch.
  struct Member: Sendable {
    var request: QueuedRequest
    var end: Int
    var arrived: Instant
  }

  var id: BatchID
  var model: Int
  var shapeClass: Int
  var priority: Int
  var members: [Member] = []
  /// Members before this one have been answered.
  var answered = 0
  var cohorts: [Cohort] = []
  var program: BatchProgram
  /// The run under way, if one is.
  var run: RunID?
  /// Bytes of activations and scratch that are set aside for it.
  var reserved = 0
  /// Sum of the weights of its requests.
  var worth = 0.0
  var started: Instant
  /// When its last run ended, to count stalls.
  var idleSince: Instant

  var samples: Int { program.samples }
  /// The first of its requests to arrive that is not answered.
  var oldest: Instant {
    var oldest = answered < members.count ? Instant.distantFuture : started
    for member in members[answered...] { oldest = min(oldest, member.arrived) }
    return oldest
  }

  /// The cohort that runs next.
  var top: Cohort { cohorts[cohorts.count - 1] }

  /// The samples of the chunk under way.
  var chunk: Range<Int> {
    let size = program.segments[top.segment].chunk
    return top.chunkStart..<min(top.chunkStart + size, top.samples.upperBound)
  }

  /// Seconds of computing until everything is answered.
  var remaining: Double {
    let segment = program.segments[top.segment]
    let next = top.segment + 1
    let after = next < program.segments.count ? program.segments[next].remaining : 0
    let own = segment.remaining - after
    let share = Double(top.samples.upperBound - top.chunkStart) / Double(max(samples, 1))
    let all = inside(segment, from: segment.layers.lowerBound)
    let done = all > 0 ? 1 - inside(segment, from: top.layer) / all : 0
    let chunks = Double((samples + segment.chunk - 1) / segment.chunk)
    return max(own * (share - done / max(chunks, 1)), 0) + after
  }

  /// Seconds of all samples through the layers of a segment from one on.
  private func inside(_ segment: BatchProgram.Segment, from layer: Int) -> Double {
    var total = 0.0
    for layer in max(layer, segment.layers.lowerBound)..<segment.layers.upperBound {
      total += program.layerSeconds[layer]
    }
    return total * Double((samples + segment.chunk - 1) / segment.chunk)
  }

  /// Goes on after the layers of a run; returns whether the batch is over.
  ///
  /// - Parameter layers: The layers that the chunk under way went through.
  mutating func advance(past layers: Range<Int>) -> Bool {
    var cohort = cohorts.removeLast()
    let segment = program.segments[cohort.segment]
    cohort.layer = layers.upperBound
    if cohort.layer == segment.layers.upperBound {
      cohort.chunkStart = min(cohort.chunkStart + segment.chunk, cohort.samples.upperBound)
      cohort.layer = segment.layers.lowerBound
      if cohort.chunkStart == cohort.samples.upperBound {
        cohort.segment += 1
        cohort.chunkStart = cohort.samples.lowerBound
        cohort.layer = segment.layers.upperBound
      }
    }
    guard cohort.segment < program.segments.count else { return true }
    if let below = cohorts.last, below.segment == cohort.segment, below.layer == cohort.layer,
      cohort.chunkStart == cohort.samples.lowerBound
    {
      cohort.samples = below.samples.lowerBound..<cohort.samples.upperBound
      cohort.chunkStart = below.chunkStart
      cohorts.removeLast()
    }
    cohorts.append(cohort)
    return false
  }

  /// Whether late arrivals may be put on top: all samples stand at one border.
  var isJoinable: Bool {
    run == nil && cohorts.count == 1 && answered == 0 && top.chunkStart == top.samples.lowerBound
      && (top.layer == program.segments[top.segment].layers.lowerBound
        || program.segments[top.segment].chunk >= samples)
  }
}
