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
  /// How runs of a plan for one sample are cut.
  let blocks = Lock<[BlockKey: [CacheBlock]]>([:])

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

  /// The buffers that some steps or those before them made and later ones read.
  func valuesAlive(after steps: Range<Int>) -> [Int] {
    buffers.indices.filter {
      buffers[$0].alias == nil && lifetimes[$0].lowerBound < steps.upperBound
        && lifetimes[$0].upperBound >= steps.upperBound
    }
  }

  /// Bytes of a buffer for all samples of the plan.
  func byteCount(_ buffer: Int) -> Int {
    buffers[buffer].byteCount * (buffers[buffer].isBatched ? samples : 1)
  }

  /// The same, rounded up to whole cache lines.
  func size(_ buffer: Int) -> Int { (byteCount(buffer) + 63) & ~63 }
}
