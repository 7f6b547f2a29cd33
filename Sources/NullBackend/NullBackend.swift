public import Backend
public import Compiler
import Glibc
public import Models
import Threads
import Vocabulary

/// Computes nothing and takes the time it is told: for tests of everything around a backend.
public struct NullBackend: Backend {
  /// How long a layer takes with so many samples on so many units.
  public typealias Cost = @Sendable (_ layer: Int, _ samples: Int, _ units: Int) -> Duration

  /// As many units as it was told.
  public let computeUnits: Int
  private let cost: Cost

  /// A backend that takes the time that `cost` predicts, by default none.
  public init(computeUnits: Int = 1, cost: @escaping Cost = { _, _, _ in .zero }) {
    self.computeUnits = computeUnits
    self.cost = cost
  }

  /// The name shown to people.
  public var name: String { "null" }

  /// Takes any program.
  public func load(_ program: Program, options: LoadOptions) throws(ModelError) -> any LoadedModel {
    if let refusal = refusal(of: options.precision) { throw ModelError(refusal) }
    return NullModel(program, cost)
  }
}

/// A program that is not run.
private final class NullModel: LoadedModel {
  let program: Program
  let layers: [LayerFootprint]
  private let cost: NullBackend.Cost

  init(_ program: Program, _ cost: @escaping NullBackend.Cost) {
    self.program = program
    self.cost = cost
    layers = program.layers.map { layer in
      let weights = layer.weights.reduce(0) { $0 + (program.graph[$1].constant?.byteCount ?? 0) }
      return LayerFootprint(
        name: layer.name, weights: ByteCount(weights), activations: .zero, scratch: .zero)
    }
  }

  func makeWorkspace(samples: Int, inputShapes: [[Int]]) throws(ModelError) -> any Workspace {
    NullWorkspace(program.graph, samples: samples)
  }

  func run(
    _ layers: Range<Int>, kernels: ArraySlice<Int>, samples: Range<Int>,
    in workspace: any Workspace, units: Int
  ) throws(ModelError) {
    let time = layers.reduce(Duration.zero) { $0 + cost($1, samples.count, units) }
    guard time > .zero else { return }
    let end = Clock.nanoseconds + time.wholeNanoseconds
    var left = end - Clock.nanoseconds
    while left > 0 {
      var rest = timespec(tv_sec: Int(left / 1_000_000_000), tv_nsec: Int(left % 1_000_000_000))
      nanosleep(&rest, nil)
      left = end - Clock.nanoseconds
    }
  }
}

/// Remembers nothing; every output is zero, with 1 for each size that a request would decide.
private final class NullWorkspace: Workspace {
  private(set) var samples: Int
  private let graph: Graph

  init(_ graph: Graph, samples: Int) {
    self.graph = graph
    self.samples = samples
  }

  var byteCount: ByteCount { .zero }

  func grow(to samples: Int) { self.samples = max(self.samples, samples) }

  func setInput(_ index: Int, samples: Range<Int>, from elements: UnsafeRawBufferPointer) {}

  func setInput(_ index: Int, to tensor: Tensor) {}

  func outputShape(_ index: Int) -> [Int] { shape(index, samples) }

  func output(_ index: Int, samples: Range<Int>) -> Tensor {
    let type = graph[graph.outputs[index]].type ?? .float32
    let shape = shape(index, samples.count)
    if type == .string {
      return Tensor(strings: Array(repeating: [], count: shape.elementCount), shape: shape)
    }
    return Tensor(
      type: type, shape: shape,
      storage: TensorStorage(byteCount: shape.elementCount * type.byteSize))
  }

  private func shape(_ index: Int, _ samples: Int) -> [Int] {
    let dimensions = graph[graph.outputs[index]].shape ?? []
    return dimensions.enumerated().map { axis, dimension in
      if case .fixed(let size) = dimension { size } else { axis == 0 ? samples : 1 }
    }
  }
}
