public import Backend
public import Compiler
public import Models
import Reference
import Vocabulary

/// Runs programs operator by operator in plain Swift: slow, obviously right.
public struct ReferenceBackend: Backend {
  /// A backend for comparison.
  public init() {}

  /// The name shown to people.
  public var name: String { "reference" }

  /// One core: nothing here is parallel.
  public var computeUnits: Int { 1 }

  /// Checks that every operator is known.
  ///
  /// - Throws: `ModelError`, naming the node that is not.
  public func load(_ program: Program, options: LoadOptions) throws(ModelError) -> any LoadedModel {
    if let refusal = refusal(of: options.precision) { throw ModelError(refusal) }
    try Reference.requireKnown(program.graph)
    return ReferenceModel(program)
  }
}

/// A program that is interpreted.
final class ReferenceModel: LoadedModel {
  let program: Program
  let layers: [LayerFootprint]
  private let lifetimes: ValueLifetimes

  init(_ program: Program) {
    self.program = program
    lifetimes = ValueLifetimes(program)
    layers = LayerFootprint.interpreted(program)
  }

  func makeWorkspace(
    samples: Int, inputShapes: [[Int]]
  ) throws(ModelError) -> any Workspace {
    TensorWorkspace(program, lifetimes, samples: samples, inputShapes: inputShapes)
  }

  func run(
    _ layers: Range<Int>, kernels: ArraySlice<Int>, samples: Range<Int>,
    in workspace: any Workspace, units: Int
  ) throws(ModelError) {
    guard let workspace = workspace as? TensorWorkspace else {
      throw ModelError("The workspace was made by another backend.")
    }
    for sample in samples {
      for layer in layers {
        for node in program.graph.nodes[program.layers[layer].nodes] {
          let inputs = node.inputs.map { $0.flatMap { workspace[$0, sample] } }
          for (id, tensor) in zip(node.outputs, try Reference.evaluate(node, inputs)) {
            if let id { workspace[id, sample] = tensor }
          }
        }
      }
    }
  }
}
