import Backend
import Compiler
import Models
import Scheduling
import Threads
import Vocabulary

/// Measures how long the layers of a model take, so that plans can be made before any request.
///
/// Layer by layer, each paged in for its turn only, so that a model larger than the memory budget
/// can be measured too; and in their order, so that a layer finds in the caches what it finds there
/// in a run: a second run of the same layer has its weights at hand, and takes 10 to 20 % less.
/// Runs correct the numbers later.
struct Calibration {
  let model: any LoadedModel
  let program: Program
  /// Its weights, where they are paged.
  let packed: PackedWeights?
  let maximumBatch: Int
  let units: Int

  /// Seconds of one kernel of a layer for one layer batch and number of units.
  private struct Times {
    var batch: Int
    var units: Int
    /// By layer, then by kernel.
    var seconds: [[Double]]
  }

  /// The most time that larger batches may take; without them times grow with the samples.
  private static let patience = Duration.seconds(3)
  /// The larger of the two layer batches that are measured; between them times are a line.
  private static let largerBatch = 8
  /// Passes over all layers, of which the shortest time of each counts: what a machine does besides
  /// lasts longer than a layer, so that runs one after the other would all meet it.
  private static let passes = 3
  /// No pass begins after this long.
  private static let passLimit = Duration.seconds(4)

  /// The costs of each layer's kernels, or nil when shapes are not known before a request comes.
  ///
  /// - Throws: `ModelError`, when a layer cannot run or its weights cannot come in.
  func measure() throws(ModelError) -> [[LayerCost]]? {
    let begin = Clock.nanoseconds
    guard program.freeSymbols.isEmpty, program.layers.count == model.layers.count,
      var found = try measure(samples: 1)
    else { return nil }
    var batches = [1]
    let several = min(maximumBatch, Self.largerBatch)
    let total = found.flatMap(\.seconds).reduce(0) { $0 + $1[0] }
    if several > 1, total * Double(several) < Self.patience.inSeconds,
      let many = try measure(samples: several)
    {
      batches.append(several)
      found += many
    }
    // The first pass makes kernels and touches memory for the first time, which can take longer
    // than a layer itself: it counts only where time allows no other.
    for pass in 1...Self.passes
    where Duration.nanoseconds(Clock.nanoseconds - begin) < Self.passLimit {
      for place in found.indices {
        let known = found[place]
        guard let workspace = try filledWorkspace(known.batch) else { return nil }
        let again = try seconds(known.batch, known.units, in: workspace)
        found[place].seconds = pass == 1 ? again : Self.shorter(known.seconds, again)
      }
    }
    return table(found, batches)
  }

  private func table(_ found: [Times], _ batches: [Int]) -> [[LayerCost]] {
    model.layers.enumerated().map { layer, footprint in
      (0..<footprint.kernelCount).map { kernel in
        LayerCost(
          batches: batches, units: Array(1...units),
          seconds: (1...units).flatMap { count in
            found.filter { $0.units == count }.map { $0.seconds[layer][kernel] }
          })
      }
    }
  }

  private static func shorter(_ one: [[Double]], _ other: [[Double]]) -> [[Double]] {
    zip(one, other).map { zip($0, $1).map(min) }
  }

  /// The first pass for each number of units: each layer runs twice, and the second run counts.
  private func measure(samples: Int) throws(ModelError) -> [Times]? {
    var found: [Times] = []
    for count in 1...units {
      guard let workspace = try filledWorkspace(samples) else { return nil }
      found.append(
        Times(
          batch: samples, units: count,
          seconds: try seconds(samples, count, runs: 2, in: workspace)))
    }
    return found
  }

  /// The seconds of the last of some runs of each layer, by kernel.
  private func seconds(
    _ samples: Int, _ units: Int, runs: Int = 1, in workspace: any Workspace
  ) throws(ModelError) -> [[Double]] {
    var found: [[Double]] = []
    for (layer, footprint) in model.layers.enumerated() {
      var row: [Double] = []
      for kernel in 0..<footprint.kernelCount {
        let bytes = 0..<(packed?.byteCount(layer: layer, kernel: kernel) ?? 0)
        try packed?.pageIn(layer: layer, kernel: kernel, bytes: bytes)
        defer { packed?.evict(layer: layer, kernel: kernel, bytes: bytes) }
        var begin = Clock.nanoseconds
        for _ in 0..<runs {
          begin = Clock.nanoseconds
          try model.run(
            layer..<layer + 1, kernels: [kernel], samples: 0..<samples, in: workspace,
            units: units)
        }
        row.append(Double(Clock.nanoseconds - begin) / 1e9)
      }
      found.append(row)
      workspace.releaseValues(before: layer + 1)
    }
    return found
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
