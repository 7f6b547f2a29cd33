import Models
import Vocabulary

/// A request that fits its model: inputs in the graph's order.
struct ValidRequest {
  var inputs: [Tensor]
  /// Samples; 1 for a model whose samples are not independent.
  var samples: Int
  /// Positions of the outputs asked for.
  var outputs: [Int]
}

extension ServedModel {
  /// Checks a request against the model.
  ///
  /// - Throws: `InferenceError` of kind `invalid`, naming the input or output that does not fit.
  func validate(_ request: InferenceRequest) throws(InferenceError) -> ValidRequest {
    var inputs: [Tensor?] = Array(repeating: nil, count: sheet.inputs.count)
    for (name, tensor) in request.inputs {
      guard let place = description.inputs.firstIndex(where: { $0.name == name }) else {
        throw invalid("has no input '\(name)'; its inputs are \(list(description.inputs)).")
      }
      guard inputs[place] == nil else { throw invalid("was given input '\(name)' twice.") }
      inputs[place] = tensor
    }
    var (bound, checked) = ([String: Int](), [Tensor]())
    for (place, tensor) in inputs.enumerated() {
      guard let tensor else {
        throw invalid("needs input '\(description.inputs[place].name)', which is missing.")
      }
      try check(tensor, at: place, &bound)
      checked.append(tensor)
    }
    let samples = batchSymbol.flatMap { bound[$0] } ?? 1
    guard samples > 0 else { throw invalid("was sent no samples: the batch dimension is 0.") }
    guard samples <= description.maximumBatch else {
      throw invalid(
        "takes at most \(description.maximumBatch) samples in one request, not \(samples); "
          + "send them in several requests.")
    }
    return ValidRequest(inputs: checked, samples: samples, outputs: try outputs(of: request))
  }

  private func check(
    _ tensor: Tensor, at place: Int, _ bound: inout [String: Int]
  ) throws(InferenceError) {
    let wanted = description.inputs[place]
    guard tensor.type == wanted.type else {
      throw invalid(
        "needs input '\(wanted.name)' as \(wanted.type.rawValue), not \(tensor.type.rawValue).")
    }
    guard let shape = sheet.inputs[place].shape else { return }
    guard tensor.shape.count == shape.count else { throw mismatch(wanted, tensor.shape) }
    for (dimension, size) in zip(shape, tensor.shape) {
      switch dimension {
      case .fixed(let expected):
        guard size == expected else { throw mismatch(wanted, tensor.shape) }
      case .symbol(let name):
        if let other = bound[name], other != size {
          throw invalid(
            "got input '\(wanted.name)' of shape \(tensor.shape), but dimension '\(name)' is "
              + "\(other) in another input.")
        }
        bound[name] = size
      }
    }
  }

  private func outputs(of request: InferenceRequest) throws(InferenceError) -> [Int] {
    guard !request.outputs.isEmpty else { return Array(description.outputs.indices) }
    var places: [Int] = []
    for name in request.outputs {
      guard let place = description.outputs.firstIndex(where: { $0.name == name }) else {
        throw invalid("has no output '\(name)'; its outputs are \(list(description.outputs)).")
      }
      places.append(place)
    }
    return places
  }

  private func mismatch(_ wanted: TensorDescription, _ shape: [Int]) -> InferenceError {
    invalid("needs input '\(wanted.name)' of shape \(wanted.shape), not \(shape).")
  }

  private func list(_ tensors: [TensorDescription]) -> String {
    tensors.map { "'\($0.name)'" }.joined(separator: ", ")
  }

  private func invalid(_ sentence: String) -> InferenceError {
    InferenceError(.invalid, "Model '\(description.name)' \(sentence)")
  }
}
