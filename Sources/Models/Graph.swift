public import Vocabulary

/// A tensor's place in a graph: an index into `Graph.values`.
public struct ValueID: Hashable, Comparable, Sendable {
  /// The index.
  public let index: Int

  /// Wraps an index.
  public init(_ index: Int) { self.index = index }

  /// Orders by index.
  public static func < (left: ValueID, right: ValueID) -> Bool { left.index < right.index }
}

/// One dimension of a value whose size may not be known before a request comes.
public enum Dimension: Hashable, Sendable {
  /// A known size.
  case fixed(Int)
  /// A size with a name: equal names are equal sizes. Unnamed ones get names of their own.
  case symbol(String)
}

/// What is known of one tensor of a graph.
public struct Value: Sendable {
  /// The name in the file; made up for values that optimisation adds.
  public var name: String
  /// The type of the elements, when known.
  public var type: ElementType?
  /// The dimensions, when the rank is known.
  public var shape: [Dimension]?
  /// The elements, for initializers and folded constants.
  public var constant: Tensor?

  /// What is known of one tensor.
  public init(
    name: String, type: ElementType? = nil, shape: [Dimension]? = nil, constant: Tensor? = nil
  ) {
    self.name = name
    self.type = type
    self.shape = shape
    self.constant = constant
  }
}

/// An attribute of a node.
public indirect enum Attribute: Sendable {
  case int(Int)
  case float(Float)
  case string(String)
  case tensor(Tensor)
  case graph(Graph)
  case ints([Int])
  case floats([Float])
  case strings([String])
}

/// One operator applied to values.
public struct Node: Sendable {
  /// The name in the file, or one made from the first output; errors name it.
  public var name: String
  /// The operator, such as `Conv`.
  public var operation: String
  /// The domain: empty for standard operators, `stowage` for fused ones.
  public var domain: String
  /// The operator set version under which the node is to be read.
  public var opset: Int
  /// The inputs; nil where an optional one is left out.
  public var inputs: [ValueID?]
  /// The outputs; nil where an optional one is left out.
  public var outputs: [ValueID?]
  /// The attributes by name.
  public var attributes: [String: Attribute]

  /// One operator applied to values.
  public init(
    name: String, operation: String, domain: String = "", opset: Int, inputs: [ValueID?],
    outputs: [ValueID?], attributes: [String: Attribute] = [:]
  ) {
    self.name = name
    self.operation = operation
    self.domain = domain
    self.opset = opset
    self.inputs = inputs
    self.outputs = outputs
    self.attributes = attributes
  }
}

/// A network as a file describes it: nodes in an order in which they can run.
public struct Graph: Sendable {
  /// The name in the file.
  public var name: String
  /// Every tensor; indexed by `ValueID`.
  public var values: [Value]
  /// The nodes, each after those whose outputs it reads.
  public var nodes: [Node]
  /// What a request must bring: initializers are not among them.
  public var inputs: [ValueID]
  /// What a request gets back.
  public var outputs: [ValueID]
  /// In a subgraph, the values that come from around it: one for each of its node's last inputs.
  ///
  /// A node with subgraphs lists what they read from outside after its own inputs, so that every
  /// dependency shows in `Node.inputs`; all its subgraphs have equally many captures.
  public var captures: [ValueID]
  /// The files that it was read from; empty when it did not come from files.
  public var sources: [FileStamp] = []

  /// A network as a file describes it.
  public init(
    name: String, values: [Value], nodes: [Node], inputs: [ValueID], outputs: [ValueID],
    captures: [ValueID] = []
  ) {
    self.name = name
    self.values = values
    self.nodes = nodes
    self.inputs = inputs
    self.outputs = outputs
    self.captures = captures
  }

  /// The value behind an identifier.
  public subscript(_ id: ValueID) -> Value {
    get { values[id.index] }
    set { values[id.index] = newValue }
  }
}
