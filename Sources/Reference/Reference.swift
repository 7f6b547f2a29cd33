public import Models

/// Every operator in plain Swift, written to be obviously right rather than fast.
public enum Reference {
  /// Applies one node to its inputs.
  ///
  /// - Parameters:
  ///   - node: The node, with its operator set version; standard or `stowage` domain.
  ///   - inputs: One tensor per input of the node, nil where an optional one is left out.
  /// - Returns: One tensor per output of the node, left-out ones included as nil.
  /// - Throws: `ModelError`, when the operator is not known or its inputs do not fit.
  public static func evaluate(_ node: Node, _ inputs: [Tensor?]) throws(ModelError) -> [Tensor?] {
    throw ModelError(
      "Node '\(node.name)' uses operator \(node.operation) of opset \(node.opset), "
        + "which is not supported.")
  }
}
