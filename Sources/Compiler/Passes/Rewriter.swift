import Models

/// A graph being rewritten: who writes and who reads each value, kept up to date.
struct Rewriter {
  private var graph: Graph
  /// The nodes, nil where one was removed.
  private(set) var nodes: [Node?]
  private var producers: [Int?]
  private var readers: [Set<Int>]
  private var isOutput: [Bool]
  /// Whether anything changed.
  private(set) var hasChanged = false

  init(_ graph: Graph) {
    self.graph = graph
    nodes = graph.nodes
    producers = Array(repeating: nil, count: graph.values.count)
    readers = Array(repeating: [], count: graph.values.count)
    isOutput = Array(repeating: false, count: graph.values.count)
    for id in graph.outputs { isOutput[id.index] = true }
    for (index, node) in graph.nodes.enumerated() { link(node, at: index) }
  }

  /// The values of the graph.
  var values: [Value] { graph.values }

  /// What is known of a value.
  subscript(_ id: ValueID) -> Value { graph[id] }

  /// The node that writes a value, and its place.
  func producer(of id: ValueID?) -> (index: Int, node: Node)? {
    guard let id, let index = producers[id.index], let node = nodes[index] else { return nil }
    return (index, node)
  }

  /// The places of the nodes that read a value, in running order.
  func readers(of id: ValueID) -> [Int] { readers[id.index].sorted() }

  /// The only node that reads a value which is not an output of the graph.
  func onlyReader(of id: ValueID?) -> (index: Int, node: Node)? {
    guard let id, !isOutput[id.index], readers[id.index].count == 1,
      let index = readers[id.index].first, let node = nodes[index]
    else { return nil }
    return (index, node)
  }

  /// Whether the graph hands the value out.
  func isOutput(_ id: ValueID) -> Bool { isOutput[id.index] }

  /// The elements of a constant.
  func constant(_ id: ValueID?) -> Tensor? { id.flatMap { graph[$0].constant } }

  /// Adds a constant.
  mutating func add(_ constant: Tensor, name: String) -> ValueID {
    append(
      Value(
        name: name, type: constant.type, shape: constant.shape.map(Dimension.fixed),
        constant: constant))
  }

  /// Gives a value elements, so that nothing has to write it any more.
  mutating func set(_ constant: Tensor, for id: ValueID) {
    graph[id].constant = constant
    graph[id].type = constant.type
    graph[id].shape = constant.shape.map(Dimension.fixed)
    hasChanged = true
  }

  /// Takes a node out.
  mutating func remove(_ index: Int) {
    guard let node = nodes[index] else { return }
    for case let id? in node.inputs { readers[id.index].remove(index) }
    for case let id? in node.outputs where producers[id.index] == index {
      producers[id.index] = nil
    }
    nodes[index] = nil
    hasChanged = true
  }

  /// Puts a node in another's place; its inputs must be computed before.
  mutating func replace(_ index: Int, with node: Node) {
    remove(index)
    nodes[index] = node
    link(node, at: index)
  }

  /// Takes nodes out and puts one in the place of the last of them.
  mutating func fuse(_ indices: [Int], into node: Node) {
    for index in indices { remove(index) }
    guard let last = indices.max() else { return }
    nodes[last] = node
    link(node, at: last)
  }

  /// Lets all who read a value read another one, which must be computed before them.
  ///
  /// - Returns: Whether it could be done: names of inputs and outputs have to stay.
  mutating func redirect(_ old: ValueID, to new: ValueID) -> Bool {
    if isOutput[old.index] {
      guard !isOutput[new.index], producers[new.index] != nil else { return false }
      graph[new].name = graph[old].name
      for place in graph.outputs.indices where graph.outputs[place] == old {
        graph.outputs[place] = new
      }
      isOutput[old.index] = false
      isOutput[new.index] = true
    }
    for index in readers[old.index] {
      guard var node = nodes[index] else { continue }
      node.inputs = node.inputs.map { $0 == old ? new : $0 }
      nodes[index] = node
      readers[new.index].insert(index)
    }
    readers[old.index] = []
    hasChanged = true
    return true
  }

  /// The graph as rewritten.
  func finish() -> Graph {
    var result = graph
    result.nodes = nodes.compactMap { $0 }
    return result
  }

  private mutating func append(_ value: Value) -> ValueID {
    graph.values.append(value)
    producers.append(nil)
    readers.append([])
    isOutput.append(false)
    hasChanged = true
    return ValueID(graph.values.count - 1)
  }

  private mutating func link(_ node: Node, at index: Int) {
    for case let id? in node.inputs { readers[id.index].insert(index) }
    for case let id? in node.outputs { producers[id.index] = index }
  }
}
