/// Why a model is refused: a sentence that names the file, node or operator.
public struct ModelError: Error, Sendable, CustomStringConvertible {
  /// The sentence.
  public let description: String

  /// Wraps a sentence.
  public init(_ description: String) { self.description = description }
}
