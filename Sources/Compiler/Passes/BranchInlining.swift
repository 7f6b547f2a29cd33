import Models
import Vocabulary

/// Puts the nodes of a branch or a loop in place of the node that holds them, when no request can
/// change which branch is taken or how often the loop is run.
enum BranchInlining {
  /// Loops of more steps stay loops.
  private static let maximumSteps = 64
  /// Nodes that unrolling one loop may make.
  private static let maximumNodes = 20_000

  /// Inlines what can be; returns whether anything was.
  static func run(_ graph: inout Graph) -> Bool {
    let nodes = graph.nodes
    guard nodes.contains(where: { $0.operation == "If" || $0.operation == "Loop" }) else {
      return false
    }
    var result: [Node] = []
    var hasChanged = false
    for node in nodes {
      let inlined: [Node]? =
        switch node.operation {
        case "If" where node.domain.isEmpty: branch(node, &graph)
        case "Loop" where node.domain.isEmpty: loop(node, &graph)
        default: nil
        }
      hasChanged = hasChanged || inlined != nil
      result += inlined ?? [node]
    }
    graph.nodes = result
    return hasChanged
  }

  private static func branch(_ node: Node, _ graph: inout Graph) -> [Node]? {
    guard let condition = node.inputs.first ?? nil,
      let taken = graph[condition].constant?.integers()?.first,
      let body = node.graph(taken != 0 ? "then_branch" : "else_branch"),
      body.outputs.count == node.outputs.count
    else { return nil }
    let captured = Array(node.inputs.suffix(body.captures.count))
    var (nodes, outputs) = copy(body, inputs: [], captured, prefix: node.name + "/", into: &graph)
    for (place, output) in node.outputs.enumerated() {
      guard let output else { continue }
      nodes.append(identity(node, outputs[place], output))
    }
    return nodes
  }

  private static func loop(_ node: Node, _ graph: inout Graph) -> [Node]? {
    guard let body = node.graph("body"), let trips = node.inputs.first ?? nil,
      let steps = graph[trips].constant?.integers()?.first, (1...maximumSteps).contains(steps),
      steps * body.nodes.count <= maximumNodes, body.inputs.count >= 2,
      isTrue(node.inputs.count > 1 ? node.inputs[1] : nil, graph), neverStops(body)
    else { return nil }
    let carried = body.inputs.count - 2
    let own = node.inputs.count - body.captures.count
    guard own == carried + 2, body.outputs.count == node.outputs.count + 1 else { return nil }
    var states = Array(node.inputs[2..<own])
    let captured = Array(node.inputs[own...])
    var nodes: [Node] = []
    var collected = Array(repeating: [ValueID](), count: body.outputs.count - 1 - carried)
    for step in 0..<steps {
      let counter = add(.int64s([step], shape: []), "\(node.name):\(step)", &graph)
      let going = add(
        .make(.bool, [], as: UInt8.self) { $0[0] = 1 }, "\(node.name):\(step):go", &graph)
      let (copied, outputs) = copy(
        body, inputs: [counter, going] + states, captured, prefix: "\(node.name)/\(step)/",
        into: &graph)
      nodes += copied
      states = Array(outputs[1...carried])
      for place in collected.indices {
        let source = outputs[1 + carried + place]
        let line = add(Value(name: "\(node.name)/\(step)/line\(place)"), &graph)
        let axes = add(.int64s([0]), "\(node.name)/\(step)/axes\(place)", &graph)
        nodes.append(
          Node(
            name: graph[line].name, operation: "Unsqueeze", opset: max(node.opset, 13),
            inputs: [source, axes], outputs: [line]))
        collected[place].append(line)
      }
    }
    for (place, output) in node.outputs.enumerated() {
      guard let output else { continue }
      if place < carried {
        nodes.append(identity(node, states[place], output))
      } else {
        nodes.append(
          Node(
            name: node.name, operation: "Concat", opset: max(node.opset, 13),
            inputs: collected[place - carried], outputs: [output], attributes: ["axis": .int(0)]))
      }
    }
    return nodes
  }

  private static func isTrue(_ id: ValueID?, _ graph: Graph) -> Bool {
    guard let id else { return true }
    return graph[id].constant?.integers()?.first.map { $0 != 0 } ?? false
  }

  /// Whether a loop's body hands on the condition it gets, or a constant that is true.
  private static func neverStops(_ body: Graph) -> Bool {
    guard var id = body.outputs.first else { return false }
    while let node = body.nodes.first(where: { $0.outputs.contains(id) }) {
      if node.operation == "Constant", let tensor = try? ShapeRules.constantTensor(node) {
        return tensor.integers()?.first == 1
      }
      guard node.operation == "Identity", let input = node.inputs[0] else { return false }
      id = input
    }
    return id == body.inputs[1] || body[id].constant?.integers()?.first == 1
  }

  /// Adds copies of a subgraph's nodes and values.
  ///
  /// - Returns: The nodes, and the values that its outputs became.
  private static func copy(
    _ body: Graph, inputs: [ValueID?], _ captured: [ValueID?], prefix: String,
    into graph: inout Graph
  ) -> (nodes: [Node], outputs: [ValueID?]) {
    var places: [ValueID?] = Array(repeating: nil, count: body.values.count)
    var isGiven = Array(repeating: false, count: body.values.count)
    for (id, given) in zip(body.inputs + body.captures, inputs + captured) {
      places[id.index] = given
      isGiven[id.index] = true
    }
    for (index, value) in body.values.enumerated() where !isGiven[index] {
      var value = value
      value.name = prefix + value.name
      places[index] = add(value, &graph)
    }
    let nodes = body.nodes.map { node in
      var node = node
      node.name = prefix + node.name
      node.inputs = node.inputs.map { $0.flatMap { places[$0.index] } }
      node.outputs = node.outputs.map { $0.flatMap { places[$0.index] } }
      return node
    }
    return (nodes, body.outputs.map { places[$0.index] })
  }

  private static func identity(_ node: Node, _ source: ValueID?, _ output: ValueID) -> Node {
    Node(
      name: node.name, operation: "Identity", opset: node.opset, inputs: [source],
      outputs: [output])
  }

  private static func add(_ constant: Tensor, _ name: String, _ graph: inout Graph) -> ValueID {
    add(
      Value(
        name: name, type: constant.type, shape: constant.shape.map(Dimension.fixed),
        constant: constant), &graph)
  }

  private static func add(_ value: Value, _ graph: inout Graph) -> ValueID {
    graph.values.append(value)
    return ValueID(graph.values.count - 1)
  }
}
