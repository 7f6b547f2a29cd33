import Models

/// How a value depends on the samples of a batch.
enum BatchState: Equatable {
  /// The same whatever the samples are and however many travel together.
  case constant
  /// Follows from the number of samples and other sizes, not from their elements.
  case sizes
  /// Each sample has its own part along one axis. That axis has `rows` entries per sample, those of
  /// the first sample first; `rows` does not depend on the number of samples.
  case samples(axis: Int, rows: Dimension)
}

/// One node under batch analysis.
struct BatchFacts {
  let node: Node
  let states: [BatchState?]
  let inputs: [ValueFacts?]
  let outputs: [ValueFacts]
  let symbol: String
  let sizes: SizeAlgebra

  /// How an input depends on the samples; a left-out one does not.
  func state(_ index: Int) -> BatchState {
    index < states.count ? states[index] ?? .constant : .constant
  }

  /// The axis of an input that carries samples, or nil.
  func axis(_ index: Int) -> Int? {
    if case .samples(let axis, _) = state(index) { axis } else { nil }
  }

  /// The dimensions of an input.
  func shape(_ index: Int) -> [Dimension]? { index < inputs.count ? inputs[index]?.shape : nil }

  /// Integers that early versions give as an attribute and later ones as an input.
  func list(_ name: String, orInput index: Int) -> [Int]? {
    node.ints(name) ?? (index < inputs.count ? inputs[index]?.known?.sizes?.fixed : nil)
  }

  /// Whether an input is given.
  func has(_ index: Int) -> Bool { index < inputs.count && inputs[index] != nil }

  /// Whether all inputs from this one on are the same for every batch.
  func areConstant(from index: Int) -> Bool {
    states.indices.dropFirst(index).allSatisfy { state($0) == .constant }
  }

  /// Why the samples cannot be shown to stay apart: the words follow the node's name.
  func mixed(_ words: String) -> BatchRefusal {
    BatchRefusal(reason: "node '\(node.name)' (\(node.operation)) \(words)")
  }
}

/// Why samples of a network cannot be shown to stay independent.
struct BatchRefusal: Error {
  let reason: String
}
