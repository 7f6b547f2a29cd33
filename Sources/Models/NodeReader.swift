import Vocabulary

/// What decides how nodes are read: versions, a function's arguments, how deep they are nested.
struct NodeContext {
  /// Operator set versions by domain.
  var opsets: [String: Int]
  /// In a function's body, the attributes of the call.
  var arguments: [String: Attribute] = [:]
  /// Subgraphs and functions around the node.
  var depth = 0

  /// The context one subgraph or function further in.
  func nested(in name: String) throws(ModelError) -> NodeContext {
    guard depth < Limits.graphNesting else {
      throw ModelError(
        "Node '\(name)' nests subgraphs or functions deeper than \(Limits.graphNesting) levels.")
    }
    var inner = self
    inner.depth += 1
    return inner
  }
}

/// A NodeProto, its attributes undecoded.
struct NodeFields {
  var name = ""
  var operation = ""
  var domain = ""
  var overload = ""
  var inputs: [String] = []
  var outputs: [String] = []
  var attributes: [WireReader] = []

  init(_ reader: WireReader) throws(ModelError) {
    var reader = reader
    while let field = try reader.next() {
      switch field.number {
      case 1: inputs.append(try field.text())
      case 2: outputs.append(try field.text())
      case 3: name = try field.text()
      case 4: operation = try field.text()
      case 5: attributes.append(try field.message("AttributeProto"))
      case 7: domain = try field.text()
      case 8: overload = try field.text()
      default: break
      }
    }
    if domain == "ai.onnx" { domain = "" }
    if name.isEmpty { name = outputs.first { !$0.isEmpty } ?? operation }
  }
}

extension ModelReader {
  /// Reads nodes and defines the names they write, so that order does not matter.
  func readNodes(_ readers: [WireReader], in scope: NameScope) throws(ModelError) -> [NodeFields] {
    nodeCount += readers.count
    guard nodeCount <= Limits.graphNodes else {
      throw ModelError("It has more than \(Limits.graphNodes) nodes.")
    }
    var nodes: [NodeFields] = []
    for reader in readers {
      let node = try NodeFields(reader)
      for output in node.outputs where !output.isEmpty {
        // A function's results are bound to the values of its caller beforehand.
        if scope.takesResult(output) { continue }
        try scope.define(output, as: Value(name: output), by: "Node '\(node.name)'")
      }
      nodes.append(node)
    }
    return nodes
  }

  /// Adds a node to the scope's graph, or the nodes of the function that it calls.
  func emit(
    _ fields: NodeFields, in scope: NameScope, _ context: NodeContext
  ) throws(ModelError) {
    var inputs: [ValueID?] = []
    for name in fields.inputs {
      do {
        inputs.append(name.isEmpty ? nil : try scope.resolve(name))
      } catch {
        throw ModelError("Node '\(fields.name)' cannot be read: \(error.description)")
      }
    }
    var outputs: [ValueID?] = []
    for name in fields.outputs { outputs.append(name.isEmpty ? nil : try scope.resolve(name)) }
    var assemblers: [GraphAssembler] = []
    var attributes: [String: Attribute] = [:]
    for reader in fields.attributes {
      let (name, attribute) = try readAttribute(
        reader, of: fields.name, in: scope, context, &assemblers)
      if let attribute { attributes[name] = attribute }
    }
    let key = FunctionDefinition.key(fields.domain, fields.operation, fields.overload)
    if let function = functions[key] {
      try inline(function, fields.name, inputs, outputs, attributes, in: scope, context)
      return
    }
    guard let opset = context.opsets[fields.domain] else {
      throw ModelError(
        "Node '\(fields.name)' uses operator \(fields.operation) of "
          + "\(fields.domain.isEmpty ? "the standard domain" : "domain '\(fields.domain)'"), "
          + "whose version the file does not import.")
    }
    var node = Node(
      name: scope.prefix + fields.name, operation: fields.operation, domain: fields.domain,
      opset: opset, inputs: inputs, outputs: outputs, attributes: attributes)
    try shareCaptures(among: assemblers, of: &node, in: scope.graph)
    scope.graph.add(node)
  }

  /// Gives all subgraphs of a node the same captures and the node an input for each.
  private func shareCaptures(
    among assemblers: [GraphAssembler], of node: inout Node, in graph: GraphAssembler
  ) throws(ModelError) {
    guard !assemblers.isEmpty else { return }
    var sources: [ValueID] = []
    for assembler in assemblers {
      for source in assembler.captureSources where !sources.contains(source) {
        sources.append(source)
      }
    }
    for (name, attribute) in node.attributes {
      guard case .graph(var subgraph) = attribute,
        let assembler = assemblers.first(where: { $0.attribute == name })
      else { continue }
      subgraph.captures = sources.map { assembler.capture($0, graph.values[$0.index]) }
      subgraph.values = assembler.values
      node.attributes[name] = .graph(subgraph)
    }
    node.inputs += sources
  }

  /// Adds a function's nodes in place of a call.
  private func inline(
    _ function: FunctionDefinition, _ call: String, _ inputs: [ValueID?], _ outputs: [ValueID?],
    _ attributes: [String: Attribute], in scope: NameScope, _ context: NodeContext
  ) throws(ModelError) {
    guard inputs.count <= function.inputs.count, outputs.count <= function.outputs.count else {
      throw ModelError(
        "Node '\(call)' calls function '\(function.key)' with more inputs or outputs than it has.")
    }
    let inner = NameScope(graph: scope.graph, parent: nil, prefix: scope.prefix + call + "/")
    for (index, name) in function.inputs.enumerated() {
      inner.bind(name, to: index < inputs.count ? inputs[index] : nil)
    }
    var passedThrough: [(source: ValueID?, result: ValueID)] = []
    for (name, result) in zip(function.outputs, outputs) {
      guard let result else { continue }
      if inner.binds(name) {
        passedThrough.append((try inner.resolve(name), result))
      } else {
        inner.bindResult(name, to: result)
      }
    }
    var nested = try context.nested(in: call)
    nested.opsets = function.opsets
    nested.arguments = attributes
    var none: [GraphAssembler] = []
    for reader in function.defaults {
      let (name, value) = try readAttribute(reader, of: call, in: inner, nested, &none)
      if nested.arguments[name] == nil { nested.arguments[name] = value }
    }
    let nodes = try readNodes(function.nodes, in: inner)
    for node in nodes { try emit(node, in: inner, nested) }
    if let result = inner.firstMissingResult {
      throw ModelError("Function '\(function.key)' never computes its output '\(result)'.")
    }
    for (source, result) in passedThrough {
      scope.graph.add(
        Node(
          name: call, operation: "Identity", opset: function.opsets[""] ?? Limits.oldestOpset,
          inputs: [source], outputs: [result]))
    }
  }
}
