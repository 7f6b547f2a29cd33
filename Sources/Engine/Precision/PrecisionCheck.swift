import Backend
import Compiler
import Models
import Vocabulary

/// Measures what a reduced precision costs: the same seeded random samples through the model twice.
///
/// Layer by layer, each paged in for its turn only, as when times are measured.
struct PrecisionCheck {
  /// A program made ready, and where its weights are paged from.
  struct Side {
    var model: any LoadedModel
    var packed: PackedWeights?
  }

  let program: Program
  let exact: Side
  let reduced: Side

  /// Samples that are compared, where a model takes several at all.
  private static let samples = 4

  /// The loss; nil when no inputs can be made up or no output is FP32.
  ///
  /// - Throws: `ModelError`, when a layer cannot run or its weights cannot come in.
  func measure() throws(ModelError) -> PrecisionLoss? {
    guard let shapes = program.exampleShapes else { return nil }
    var random = SplitMix64(state: 0x5EED)
    let isBatched = if case .independent = program.batching { true } else { false }
    var sum = Sum()
    for _ in 0..<(isBatched ? Self.samples : 1) {
      var inputs: [Tensor] = []
      for (id, shape) in zip(program.graph.inputs, shapes) {
        guard let tensor = random.tensor(program.graph[id].type ?? .float32, shape) else {
          return nil
        }
        inputs.append(tensor)
      }
      sum.add(try run(exact, inputs), try run(reduced, inputs))
    }
    return sum.loss
  }

  private func run(_ side: Side, _ inputs: [Tensor]) throws(ModelError) -> [Tensor] {
    let workspace = try side.model.makeWorkspace(samples: 1, inputShapes: inputs.map(\.shape))
    for (index, tensor) in inputs.enumerated() { workspace.setInput(index, to: tensor) }
    for layer in program.layers.indices {
      let bytes = side.packed?.byteCount(layer: layer) ?? 0
      try side.packed?.pageIn(layer: layer, bytes: 0..<bytes)
      defer { side.packed?.evict(layer: layer, bytes: 0..<bytes) }
      try side.model.run(layer..<layer + 1, samples: 0..<1, in: workspace, units: 1)
      workspace.releaseValues(before: layer + 1)
    }
    return program.graph.outputs.indices.map { workspace.output($0, samples: 0..<1) }
  }

  /// Differences added up over samples and outputs.
  private struct Sum {
    private var differences = 0.0
    private var squares = 0.0
    private var largest = 0.0
    private var isEmpty = true

    var loss: PrecisionLoss? {
      guard !isEmpty else { return nil }
      return PrecisionLoss(
        rootMeanSquare: squares > 0 ? (differences / squares).squareRoot() : 0, largest: largest)
    }

    /// Outputs of other types, and those whose shapes follow from elements, tell nothing.
    mutating func add(_ exact: [Tensor], _ reduced: [Tensor]) {
      for (right, other) in zip(exact, reduced)
      where right.type == .float32 && right.shape == other.shape && right.elementCount > 0 {
        right.withElements(as: Float.self) { right in
          other.withElements(as: Float.self) { other in
            var (peak, height) = (0.0, 0.0)
            for (a, b) in zip(right, other) where a.isFinite {
              let difference = abs(Double(a) - Double(b))
              differences += difference * difference
              squares += Double(a) * Double(a)
              height = max(height, difference.isNaN ? .infinity : difference)
              peak = max(peak, Double(abs(a)))
            }
            if peak > 0 { largest = max(largest, height / peak) }
          }
        }
        isEmpty = false
      }
    }
  }
}

/// Steele, Lea and Flood's generator (2014): the same numbers from the same seed everywhere.
private struct SplitMix64 {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }

  /// Numbers between -1 and 1, or integers 0 and 1, which are good indices everywhere; nil for
  /// types that cannot be made up.
  mutating func tensor(_ type: ElementType, _ shape: [Int]) -> Tensor? {
    let count = shape.elementCount
    guard count < 1 << 28 else { return nil }
    switch type {
    case .float32:
      let values = (0..<count).map { _ in Float(Int32(truncatingIfNeeded: next())) / 0x1p31 }
      return Tensor.make(type, shape, as: Float.self) { elements in
        for index in elements.indices { elements[index] = values[index] }
      }
    case .float16, .bfloat16, .float64, .string: return nil
    default:
      let storage = TensorStorage(byteCount: count * type.byteSize)
      for index in 0..<count {
        // The lowest byte of each integer; the others are zero.
        storage.base.storeBytes(
          of: UInt8(next() & 1), toByteOffset: index * type.byteSize, as: UInt8.self)
      }
      return Tensor(type: type, shape: shape, storage: storage)
    }
  }
}
