import Models
import Threads
import Vocabulary

/// A program made of kernels for one number of samples, one number of units and one set of shapes.
final class Plan: Sendable {
  /// A value in one of its layouts, as one layer made it: several may be needed at once.
  struct Home: Hashable, Sendable {
    var value: ValueID
    var form: Form
    var layer: Int
  }

  /// Memory that steps read and write.
  struct Buffer: Sendable {
    /// Bytes of one sample, or of everything when samples share it.
    var byteCount: Int
    /// Whether each sample has its own part.
    var isBatched: Bool
    /// What it was made for: the same in every plan of a model.
    var home: Home
    /// Another buffer whose memory this one is.
    var alias: Int?
    /// A buffer whose memory it may take over when that is not needed afterwards.
    var successorOf: Int?
  }

  /// Where an operand lies.
  enum Operand: Sendable {
    case buffer(Int)
    case weight(WeightPointer)
  }

  /// One kernel with its operands; the last `writes` of them are written.
  struct Step: Sendable {
    var kernel: any Kernel
    var operands: [Operand]
    var writes: Int
  }

  let samples: Int
  let buffers: [Buffer]
  let steps: [Step]
  /// The steps of each layer.
  let layers: [Range<Int>]
  /// The buffer of each graph input and output, nil where nothing reads or makes it.
  let inputs: [Int?]
  let outputs: [Int?]
  /// What the outputs are with the samples of the plan.
  let outputShapes: [[Int]]
  let outputTypes: [ElementType]
  /// The first step that writes a root buffer and the last that reads it.
  let lifetimes: [ClosedRange<Int>]
  private let arenas = Lock<[Range<Int>: ArenaPlan]>([:])

  init(
    samples: Int, buffers: [Buffer], steps: [Step], layers: [Range<Int>], inputs: [Int?],
    outputs: [Int?], outputShapes: [[Int]], outputTypes: [ElementType]
  ) {
    self.outputShapes = outputShapes
    self.outputTypes = outputTypes
    self.samples = samples
    self.buffers = buffers
    self.steps = steps
    self.layers = layers
    self.inputs = inputs
    self.outputs = outputs
    lifetimes = Self.lifetimes(buffers, steps, inputs, outputs)
  }

  /// Where the buffers of some layers lie while these run.
  func arena(_ layers: Range<Int>) -> ArenaPlan {
    if let known = arenas.withLock({ $0[layers] }) { return known }
    let made = ArenaPlan(self, layers: layers)
    arenas.withLock { arenas in
      // There are as many ranges as pairs of layers, of which few come again.
      if arenas.count >= Limits.arenasPerPlan { arenas.removeAll(keepingCapacity: true) }
      arenas[layers] = made
    }
    return made
  }

  /// The buffer whose memory a buffer is in the end.
  func root(_ buffer: Int) -> Int { Self.root(buffer, buffers) }

  private static func root(_ buffer: Int, _ buffers: [Buffer]) -> Int {
    var place = buffer
    while let next = buffers[place].alias { place = next }
    return place
  }

  /// Inputs live from before the first step, outputs until after the last.
  private static func lifetimes(
    _ buffers: [Buffer], _ steps: [Step], _ inputs: [Int?], _ outputs: [Int?]
  ) -> [ClosedRange<Int>] {
    var (first, last) = (
      [Int](repeating: steps.count, count: buffers.count),
      [Int](repeating: -1, count: buffers.count)
    )
    for case let buffer? in inputs { first[root(buffer, buffers)] = -1 }
    for (index, step) in steps.enumerated() {
      for case .buffer(let buffer) in step.operands {
        let place = root(buffer, buffers)
        first[place] = min(first[place], index)
        last[place] = max(last[place], index)
      }
    }
    for case let buffer? in outputs { last[root(buffer, buffers)] = steps.count }
    return first.indices.map { first[$0]...max(first[$0], last[$0]) }
  }
}

/// A place in a weight store, which outlives the plans that point into it.
struct WeightPointer: @unchecked Sendable {
  // Unchecked: weights are only read once they are made.
  let address: UnsafeMutableRawPointer
}

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

  /// Plans the steps of consecutive layers, largest buffers first, each at the lowest place that is
  /// free for its lifetime (greedy by size: Pisarchyk and Lee, 2020).
  init(_ plan: Plan, layers: Range<Int>) {
    guard let first = layers.first, let last = layers.last else { return }
    let steps = plan.layers[first].lowerBound..<plan.layers[last].upperBound
    var inner: [Int] = []
    for index in plan.buffers.indices where plan.buffers[index].alias == nil {
      let life = plan.lifetimes[index]
      if life.lowerBound >= steps.lowerBound, life.upperBound < steps.upperBound {
        inner.append(index)
      }
    }
    firstBuffer = inner.first ?? 0
    offsets = Array(repeating: -1, count: (inner.last ?? firstBuffer - 1) + 1 - firstBuffer)
    let heirs = Self.heirs(plan, inner)
    inner.sort { plan.size($0) > plan.size($1) }
    var placed: [(range: Range<Int>, life: ClosedRange<Int>)] = []
    for index in inner where heirs[index] == nil {
      let family = inner.filter { Self.elder($0, heirs) == index }
      let life = family.reduce(plan.lifetimes[index]) {
        min(
          $0.lowerBound, plan.lifetimes[$1].lowerBound)...max(
            $0.upperBound, plan.lifetimes[$1].upperBound)
      }
      let offset = Self.lowestPlace(plan.size(index), life, placed)
      placed.append((offset..<offset + plan.size(index), life))
      for member in family { offsets[member - firstBuffer] = offset }
      byteCount = max(byteCount, offset + plan.size(index))
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

  /// For each buffer the one whose memory it takes over: dead by then, inside, and of its size.
  private static func heirs(_ plan: Plan, _ inner: [Int]) -> [Int: Int] {
    let inside = Set(inner)
    var heirs: [Int: Int] = [:]
    for index in inner {
      guard let wish = plan.buffers[index].successorOf else { continue }
      let elder = plan.root(wish)
      guard inside.contains(elder), plan.size(elder) == plan.size(index),
        plan.lifetimes[elder].upperBound == plan.lifetimes[index].lowerBound,
        !heirs.values.contains(elder)
      else { continue }
      heirs[index] = elder
    }
    return heirs
  }

  private static func elder(_ index: Int, _ heirs: [Int: Int]) -> Int {
    var place = index
    while let next = heirs[place] { place = next }
    return place
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

extension Plan {
  /// What passes from layer to layer, and the bytes of a sample of it.
  var borders: [Home: Int] {
    var found: [Home: Int] = [:]
    for index in buffers.indices where buffers[index].alias == nil {
      let life = lifetimes[index]
      let isInside = layers.contains {
        life.lowerBound >= $0.lowerBound && life.upperBound < $0.upperBound
      }
      if !isInside { found[buffers[index].home] = buffers[index].byteCount }
    }
    return found
  }

  /// The buffers of samples that some steps read and others before them made.
  func valuesRead(from steps: Range<Int>) -> Set<Int> {
    var found: Set<Int> = []
    for step in self.steps[steps] {
      for case .buffer(let buffer) in step.operands.dropLast(step.writes) {
        let place = root(buffer)
        if buffers[place].isBatched, lifetimes[place].lowerBound < steps.lowerBound {
          found.insert(place)
        }
      }
    }
    return found
  }

  /// Bytes of a buffer for all samples of the plan, rounded up to whole cache lines.
  func size(_ buffer: Int) -> Int {
    let entry = buffers[buffer]
    return (entry.byteCount * (entry.isBatched ? samples : 1) + 63) & ~63
  }
}
