import Models
import Testing
import Vocabulary

@testable import Reference

/// Applies an operator and returns all of its outputs.
func applyAll(
  _ operation: String, _ inputs: [Tensor?], outputs: Int, domain: String = "", opset: Int = 21,
  _ attributes: [String: Attribute] = [:]
) throws -> [Tensor] {
  let node = Node(
    name: "n", operation: operation, domain: domain, opset: opset,
    inputs: inputs.indices.map { inputs[$0] == nil ? nil : ValueID($0) },
    outputs: (0..<outputs).map { ValueID(inputs.count + $0) }, attributes: attributes)
  return try Reference.evaluate(node, inputs).map { try #require($0) }
}

/// A tensor of strings.
func texts(_ words: [String], _ shape: [Int]) -> Tensor {
  Tensor(strings: words.map { Array($0.utf8) }, shape: shape)
}

/// The strings of a tensor.
func words(_ x: Tensor) -> [String] { x.strings.map { String(decoding: $0, as: UTF8.self) } }

extension Seeded {
  /// An FP32 tensor of seeded elements.
  mutating func tensor(_ shape: [Int]) -> Tensor {
    .from(floats: floats(shape.elementCount), shape)
  }
}

/// Checks that two tensors have one shape and nearly the same elements.
func expectClose(
  _ found: Tensor, _ wanted: Tensor, within tolerance: Double = 1e-5, _ seed: Int = 0,
  at location: SourceLocation = #_sourceLocation
) {
  #expect(found.shape == wanted.shape, "seed \(seed)", sourceLocation: location)
  guard found.shape == wanted.shape else { return }
  let (a, b) = (found.reals(), wanted.reals())
  let worst = a.indices.map { abs(a[$0] - b[$0]) }.max() ?? 0
  #expect(worst <= tolerance, "seed \(seed)", sourceLocation: location)
}
