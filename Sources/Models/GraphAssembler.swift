import Vocabulary

/// A graph while its parts are read.
final class GraphAssembler {
  var name = ""
  /// In a subgraph, the attribute that holds it.
  var attribute = ""
  private(set) var values: [Value] = []
  private(set) var nodes: [Node] = []
  var inputs: [ValueID] = []
  var outputs: [ValueID] = []
  private(set) var captures: [ValueID] = []
  /// For each capture, the value of the graph around that it stands for.
  private(set) var captureSources: [ValueID] = []

  /// Adds a value and gives its place.
  func add(_ value: Value) -> ValueID {
    values.append(value)
    return ValueID(values.count - 1)
  }

  /// Adds a node; its inputs may come from nodes added later.
  func add(_ node: Node) { nodes.append(node) }

  /// The value that stands for one of the graph around.
  func capture(_ source: ValueID, _ outer: Value) -> ValueID {
    if let known = captureSources.firstIndex(of: source) { return captures[known] }
    let id = add(Value(name: outer.name, type: outer.type, shape: outer.shape))
    captures.append(id)
    captureSources.append(source)
    return id
  }

  /// Adds what a file declares of a value to what is known of it.
  func refine(_ id: ValueID, with info: ValueInfo) {
    guard values[id.index].constant == nil else { return }
    if values[id.index].type == nil { values[id.index].type = info.type }
    if values[id.index].shape == nil { values[id.index].shape = info.shape }
  }

  /// The finished graph, its nodes in running order.
  func finish() throws(ModelError) -> Graph {
    Graph(
      name: name, values: values, nodes: try sorted(), inputs: inputs, outputs: outputs,
      captures: captures)
  }

  /// Orders nodes so that each comes after those it reads, keeping the file's order where it can.
  private func sorted() throws(ModelError) -> [Node] {
    var producer = [Int?](repeating: nil, count: values.count)
    for (index, node) in nodes.enumerated() {
      for case let id? in node.outputs { producer[id.index] = index }
    }
    var readers = [[Int]](repeating: [], count: nodes.count)
    var missing = [Int](repeating: 0, count: nodes.count)
    var isSorted = true
    for (index, node) in nodes.enumerated() {
      for case let id? in node.inputs {
        guard let source = producer[id.index] else { continue }
        readers[source].append(index)
        missing[index] += 1
        isSorted = isSorted && source < index
      }
    }
    if isSorted { return nodes }
    var order = nodes.indices.filter { missing[$0] == 0 }
    var next = 0
    while next < order.count {
      for reader in readers[order[next]] {
        missing[reader] -= 1
        if missing[reader] == 0 { order.append(reader) }
      }
      next += 1
    }
    guard order.count == nodes.count else {
      let stuck = nodes.indices.first { missing[$0] > 0 }.map { nodes[$0].name } ?? ""
      throw ModelError("Node '\(stuck)' is part of a cycle.")
    }
    return order.map { nodes[$0] }
  }
}

/// The names that nodes of one graph, or of one inlined function, can read.
final class NameScope {
  /// The graph that gets the nodes.
  let graph: GraphAssembler
  /// The names of the graph around, for a subgraph.
  let parent: NameScope?
  /// What is put before names of values, so that those of inlined functions stay apart.
  let prefix: String
  /// Values by name; nil for a function's input that its caller leaves out.
  private(set) var names: [String: ValueID?] = [:]
  private var pendingResults: Set<String> = []

  init(graph: GraphAssembler, parent: NameScope?, prefix: String = "") {
    self.graph = graph
    self.parent = parent
    self.prefix = prefix
  }

  /// Makes a value under a new name.
  @discardableResult
  func define(_ name: String, as value: Value, by what: String) throws(ModelError) -> ValueID {
    guard names[name] == nil else {
      throw ModelError("\(what) defines '\(name)', which is already defined.")
    }
    var value = value
    value.name = prefix + value.name
    let id = graph.add(value)
    names[name] = id
    return id
  }

  /// Gives a name to a value that exists already, or to nothing.
  func bind(_ name: String, to id: ValueID?) { names[name] = .some(id) }

  /// Gives the name of a function's result to the caller's value, for one node to write.
  func bindResult(_ name: String, to id: ValueID) {
    names[name] = .some(id)
    pendingResults.insert(name)
  }

  /// Whether a node that writes this name writes a result of the function, which it may do once.
  func takesResult(_ name: String) -> Bool { pendingResults.remove(name) != nil }

  /// The first result, by name, that no node has written.
  var firstMissingResult: String? { pendingResults.min() }

  /// Whether the name is bound in this scope itself.
  func binds(_ name: String) -> Bool { names[name] != nil }

  /// The value of a name, captured from the graphs around when it is theirs.
  func resolve(_ name: String) throws(ModelError) -> ValueID? {
    if let known = names[name] { return known }
    guard let parent, let source = try parent.resolve(name) else {
      throw ModelError("'\(name)' is read but never defined.")
    }
    let id = graph.capture(source, parent.graph.values[source.index])
    names[name] = id
    return id
  }
}
