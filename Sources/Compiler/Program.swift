public import Models

/// A graph made ready for a backend: optimised, ordered and cut into layers.
public struct Program: Sendable {
  /// The optimised graph; its nodes are in running order.
  public var graph: Graph
  /// The layers, which cover the nodes in order.
  public var layers: [Layer]
  /// Whether samples can travel together.
  public var batching: Batching
  /// The named sizes that requests decide besides the batch, such as an image's height.
  public var freeSymbols: [String]

  /// A graph made ready for a backend.
  public init(graph: Graph, layers: [Layer], batching: Batching, freeSymbols: [String]) {
    self.graph = graph
    self.layers = layers
    self.batching = batching
    self.freeSymbols = freeSymbols
  }
}

/// The schedulable unit: one or more fused operators with their weights.
public struct Layer: Sendable {
  /// The name shown to people: that of the main node.
  public var name: String
  /// The nodes, as a range of `Program.graph.nodes`.
  public var nodes: Range<Int>
  /// Constants that only this and other layers read: what is paged.
  public var weights: [ValueID]
  /// Values that live across the border after this layer, outputs of the graph included.
  public var liveAfter: [ValueID]

  /// The schedulable unit.
  public init(name: String, nodes: Range<Int>, weights: [ValueID], liveAfter: [ValueID]) {
    self.name = name
    self.nodes = nodes
    self.weights = weights
    self.liveAfter = liveAfter
  }
}

/// Whether a network's samples stay independent along axis 0.
public enum Batching: Sendable {
  /// Samples on axis 0 never mix; any number may travel together. `symbol` names the batch
  /// dimension, which is symbolic in the program even when the file fixed it at 1.
  case independent(symbol: String)
  /// Samples mix, or it could not be proven that they do not: each request runs alone.
  case whole(reason: String)
}
