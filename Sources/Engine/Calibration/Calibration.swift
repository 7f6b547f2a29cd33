import Backend
import Compiler
import Models
import Scheduling
import Threads
import Vocabulary

/// Measures how long the layers of a model take, so that plans can be made before any request.
///
/// Layer by layer, each paged in for its turn only, so that a model larger than the memory budget
/// can be measured too. Runs correct the numbers later.
struct Calibration {
  let model: any LoadedModel
  let program: Program
  /// Its weights, where they are paged.
  let packed: PackedWeights?
  let maximumBatch: Int
  let units: Int

  /// The most time that larger batches may take; without them times grow with the samples.
  private static let patience = Duration.seconds(3)
  /// The larger of the two layer batches that are measured; between them times are a line.
  private static let largerBatch = 8
  /// Passes over all layers, of which the shortest time of each counts: what a machine does besides
  /// lasts longer than a layer, so that runs one after the other would all meet it.
  private static let passes = 3
  /// No pass begins after this long.
  private static let passLimit = Duration.seconds(4)

  /// One cost for each layer, or nil when the shapes are not known before a request comes.
  ///
  /// - Throws: `ModelError`, when a layer cannot run or its weights cannot come in.
  func measure() throws(ModelError) -> [LayerCost]? {
    let begin = Clock.nanoseconds
    guard program.freeSymbols.isEmpty, program.layers.count == model.layers.count,
      let single = try times(samples: 1)
    else { return nil }
    var (batches, tables) = ([1], [single])
    let several = min(maximumBatch, Self.largerBatch)
    let total = single.joined().reduce(0, +)
    if several > 1, total * Double(several) < Self.patience.inSeconds,
      let many = try times(samples: several)
    {
      batches.append(several)
      tables.append(many)
    }
    for _ in 1..<Self.passes
    where Duration.nanoseconds(Clock.nanoseconds - begin) < Self.passLimit {
      for (place, batch) in batches.enumerated() {
        guard let again = try times(samples: batch) else { return nil }
        tables[place] = Self.shorter(tables[place], again)
      }
    }
    return program.layers.indices.map { layer in
      LayerCost(
        batches: batches, units: Array(1...units),
        seconds: (0..<units).flatMap { unit in tables.map { $0[layer][unit] } })
    }
  }

  private static func shorter(_ one: [[Double]], _ other: [[Double]]) -> [[Double]] {
    zip(one, other).map { zip($0, $1).map(min) }
  }

  /// Seconds by layer and then by units, from one unit on.
  private func times(samples: Int) throws(ModelError) -> [[Double]]? {
    guard let workspace = try filledWorkspace(samples) else { return nil }
    var found: [[Double]] = []
    for layer in program.layers.indices {
      let bytes = packed?.byteCount(layer: layer) ?? 0
      try packed?.pageIn(layer: layer, bytes: 0..<bytes)
      defer { packed?.evict(layer: layer, bytes: 0..<bytes) }
      var row: [Double] = []
      for count in 1...units {
        row.append(try seconds(layer: layer, samples: samples, units: count, in: workspace))
      }
      found.append(row)
      workspace.releaseValues(before: layer + 1)
    }
    return found
  }

  /// A run, after one that does not count: it may make kernels, finds the weights in no cache, and
  /// touches memory for the first time, which can take longer than the layer itself.
  private func seconds(
    layer: Int, samples: Int, units: Int, in workspace: any Workspace
  ) throws(ModelError) -> Double {
    try model.run(layer..<layer + 1, samples: 0..<samples, in: workspace, units: units)
    let begin = Clock.nanoseconds
    try model.run(layer..<layer + 1, samples: 0..<samples, in: workspace, units: units)
    return Double(Clock.nanoseconds - begin) / 1e9
  }

  /// Memory with zeros as inputs; nil when an input's shape or type keeps it from being made.
  private func filledWorkspace(_ samples: Int) throws(ModelError) -> (any Workspace)? {
    let isBatched = if case .independent = program.batching { true } else { false }
    var tensors: [Tensor] = []
    for id in program.graph.inputs {
      let value = program.graph[id]
      guard let shape = value.shape, let type = value.type, type != .string else { return nil }
      var sizes = shape.map { if case .fixed(let size) = $0 { size } else { 1 } }
      if isBatched, !sizes.isEmpty { sizes[0] = samples }
      let count = sizes.reduce(type.byteSize) {
        $0.multipliedReportingOverflow(by: $1).partialValue
      }
      guard count >= 0, count < 1 << 32 else { return nil }
      tensors.append(
        Tensor(type: type, shape: sizes, storage: TensorStorage(byteCount: count)))
    }
    let workspace = try model.makeWorkspace(samples: samples, inputShapes: tensors.map(\.shape))
    for (index, tensor) in tensors.enumerated() {
      if isBatched {
        workspace.setInput(
          index, samples: 0..<samples,
          from: UnsafeRawBufferPointer(start: tensor.storage.base, count: tensor.byteCount))
      } else {
        workspace.setInput(index, to: tensor)
      }
    }
    return workspace
  }
}
