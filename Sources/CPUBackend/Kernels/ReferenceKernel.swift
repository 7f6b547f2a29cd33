import Models
import Reference
import Vocabulary

/// An operator that has no kernel of its own yet, by its plain meaning.
struct ReferenceKernel: Kernel {
  /// Where an input comes from.
  enum Input: Sendable {
    case constant(Tensor)
    case operand(Int, type: ElementType, shape: [Int])
    case missing
  }

  let node: Node
  let inputs: [Input]
  /// The operand of each output, or nil where it is left out.
  let outputs: [(operand: Int, byteCount: Int)?]

  var scratch: Int { 0 }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    let tensors = inputs.map { input -> Tensor? in
      switch input {
      case .constant(let tensor): return tensor
      case .missing: return nil
      case .operand(let place, let type, let shape):
        let storage = TensorStorage(byteCount: shape.elementCount * type.byteSize)
        storage.base.copyMemory(
          from: operands[place], byteCount: shape.elementCount * type.byteSize)
        return Tensor(type: type, shape: shape, storage: storage)
      }
    }
    let results = try Reference.evaluate(node, tensors)
    for (place, result) in zip(outputs, results) {
      guard let place, let result else { continue }
      guard result.byteCount == place.byteCount else {
        throw ModelError(
          "Node '\(node.name)' made \(result.byteCount) bytes where \(place.byteCount) were "
            + "expected.")
      }
      operands[place.operand].copyMemory(from: result.storage.base, byteCount: place.byteCount)
    }
  }
}
