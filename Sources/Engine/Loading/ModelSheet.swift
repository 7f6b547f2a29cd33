import Backend
import Compiler
import Models
import Vocabulary

/// What requests and plans need to know of a model; its graph and its kernels are not among it.
struct ModelSheet: Equatable {
  /// An input or output of the graph.
  struct Tensor: Equatable {
    var name: String
    var type: ElementType
    /// The dimensions; nil when not even their number is known.
    var shape: [Dimension]?
  }

  var inputs: [Tensor]
  var outputs: [Tensor]
  /// The name of the batch dimension; nil when samples are not independent.
  var batchSymbol: String?
  /// Whether requests decide sizes besides the batch.
  var hasFreeSizes: Bool
  /// What each layer takes of memory, in running order.
  var layers: [LayerFootprint]

  init(_ program: Program, layers: [LayerFootprint]) {
    inputs = program.graph.inputs.map { Tensor(program.graph[$0]) }
    outputs = program.graph.outputs.map { Tensor(program.graph[$0]) }
    batchSymbol = if case .independent(let symbol) = program.batching { symbol } else { nil }
    hasFreeSizes = !program.freeSymbols.isEmpty
    self.layers = layers
  }

  /// Bytes of one sample's inputs, free sizes counted as one.
  var inputByteCount: ByteCount {
    inputs.reduce(into: .zero) { total, input in
      let sizes = (input.shape ?? []).map { if case .fixed(let size) = $0 { size } else { 1 } }
      total += ByteCount(sizes.reduce(input.type.byteSize, *))
    }
  }

  /// What is told of the model from outside.
  func description(
    name: String, version: String, maximumBatch: Int, precision: Precision = .float32,
    loss: PrecisionLoss? = nil
  ) -> ModelDescription {
    ModelDescription(
      name: name, version: version, state: .ready, inputs: inputs.map(TensorDescription.init),
      outputs: outputs.map(TensorDescription.init), maximumBatch: maximumBatch,
      precision: precision, precisionLoss: loss)
  }
}

extension ModelSheet.Tensor {
  init(_ value: Value) {
    self.init(name: value.name, type: value.type ?? .float32, shape: value.shape)
  }
}

extension TensorDescription {
  /// An input or output as the graph knows it; -1 where a request decides.
  init(_ tensor: ModelSheet.Tensor) {
    let shape = (tensor.shape ?? []).map { dimension in
      if case .fixed(let size) = dimension { size } else { -1 }
    }
    self.init(name: tensor.name, type: tensor.type, shape: shape)
  }
}
