import Vocabulary

/// Reads ONNX's ModelProto: operator set versions, model-local functions, the graph.
final class ModelReader {
  var tensors: TensorReader
  /// Functions of the model by domain, name and overload.
  var functions: [String: FunctionDefinition] = [:]
  /// Nodes made so far, subgraphs and inlined functions included.
  var nodeCount = 0

  init(tensors: TensorReader) { self.tensors = tensors }

  /// Reads the whole model.
  func read(_ model: WireReader) throws(ModelError) -> Graph {
    var model = model
    var graph: WireReader?
    var opsets: [String: Int] = [:]
    while let field = try model.next() {
      switch field.number {
      case 7: graph = try field.message("GraphProto")
      case 8: try readOpset(try field.message("OperatorSetIdProto"), into: &opsets)
      case 25:
        let function = try readFunction(try field.message("FunctionProto"))
        guard functions.updateValue(function, forKey: function.key) == nil else {
          throw ModelError("The function '\(function.key)' is defined twice.")
        }
      default: break
      }
    }
    guard let graph else { throw ModelError("It has no graph, so it is not an ONNX model.") }
    try check(opsets)
    let scope = NameScope(graph: GraphAssembler(), parent: nil)
    return try readGraph(graph, in: scope, NodeContext(opsets: opsets))
  }

  /// Reads a graph whose names go into the scope.
  func readGraph(
    _ graph: WireReader, in scope: NameScope, _ context: NodeContext
  ) throws(ModelError) -> Graph {
    let fields = try GraphFields(graph)
    let assembler = scope.graph
    assembler.name = fields.name
    for field in fields.initializers {
      let (name, tensor) = try tensors.read(field)
      guard !name.isEmpty else { throw ModelError("An initializer has no name.") }
      let value = Value(
        name: name, type: tensor.type, shape: tensor.shape.map(Dimension.fixed), constant: tensor)
      try scope.define(name, as: value, by: "Initializer '\(name)'")
    }
    for field in fields.inputs { try readInput(field, in: scope) }
    let nodes = try readNodes(fields.nodes, in: scope)
    for field in fields.valueInfos { try readValueInfo(field, in: scope) }
    for node in nodes { try emit(node, in: scope, context) }
    for field in fields.outputs {
      let info = try ValueInfo(field)
      guard let id = try? scope.resolve(info.name) else {
        throw ModelError("Output '\(info.name)' of graph '\(fields.name)' is never computed.")
      }
      assembler.outputs.append(id)
      assembler.refine(id, with: info)
    }
    return try assembler.finish()
  }

  private func readInput(_ field: WireReader, in scope: NameScope) throws(ModelError) {
    let info = try ValueInfo(field)
    // Before IR version 4 every initializer was listed among the inputs as well; a later file
    // may do so to give a default, which is taken as the value.
    if let known = scope.names[info.name] ?? nil, scope.graph.values[known.index].constant != nil {
      return
    }
    if scope.parent == nil, let kind = info.unsupportedKind {
      throw ModelError("Input '\(info.name)' is \(kind), which is not supported.")
    }
    let value = Value(name: info.name, type: info.type, shape: info.shape)
    scope.graph.inputs.append(
      try scope.define(info.name, as: value, by: "Input '\(info.name)'"))
  }

  private func readValueInfo(_ field: WireReader, in scope: NameScope) throws(ModelError) {
    let info = try ValueInfo(field)
    if let id = scope.names[info.name] ?? nil { scope.graph.refine(id, with: info) }
  }

  private func readOpset(
    _ entry: WireReader, into opsets: inout [String: Int]
  ) throws(ModelError) {
    var entry = entry
    var domain = ""
    var version = 1
    while let field = try entry.next() {
      if field.number == 1 { domain = try field.text() }
      if field.number == 2 { version = try field.int() }
    }
    opsets[domain == "ai.onnx" ? "" : domain] = version
  }

  private func check(_ opsets: [String: Int]) throws(ModelError) {
    let supported = Limits.oldestOpset...Limits.newestOpset
    guard let version = opsets[""] else {
      guard opsets.isEmpty else { return }
      throw ModelError("It names no operator set version; versions \(supported) are supported.")
    }
    guard supported.contains(version) else {
      throw ModelError(
        "It uses operator set version \(version); versions \(supported.lowerBound) to "
          + "\(supported.upperBound) are supported.")
    }
  }

  private func readFunction(_ reader: WireReader) throws(ModelError) -> FunctionDefinition {
    var reader = reader
    var function = FunctionDefinition()
    while let field = try reader.next() {
      switch field.number {
      case 1: function.name = try field.text()
      case 4: function.inputs.append(try field.text())
      case 5: function.outputs.append(try field.text())
      case 7: function.nodes.append(try field.message("NodeProto"))
      case 9: try readOpset(try field.message("OperatorSetIdProto"), into: &function.opsets)
      case 10: function.domain = try field.text()
      case 11: function.defaults.append(try field.message("AttributeProto"))
      case 13: function.overload = try field.text()
      default: break
      }
    }
    try check(function.opsets)
    return function
  }
}

/// A model-local function, whose nodes are read anew wherever it is called.
struct FunctionDefinition {
  var name = ""
  var domain = ""
  var overload = ""
  var inputs: [String] = []
  var outputs: [String] = []
  var nodes: [WireReader] = []
  var opsets: [String: Int] = [:]
  var defaults: [WireReader] = []

  /// What identifies the function among all of the model.
  var key: String { Self.key(domain, name, overload) }

  static func key(_ domain: String, _ name: String, _ overload: String) -> String {
    overload.isEmpty ? "\(domain).\(name)" : "\(domain).\(name).\(overload)"
  }
}

/// The parts of a GraphProto, which may come in any order in the file.
private struct GraphFields {
  var name = ""
  var nodes: [WireReader] = []
  var initializers: [WireReader] = []
  var inputs: [WireReader] = []
  var outputs: [WireReader] = []
  var valueInfos: [WireReader] = []

  init(_ reader: WireReader) throws(ModelError) {
    var reader = reader
    while let field = try reader.next() {
      switch field.number {
      case 1: nodes.append(try field.message("NodeProto"))
      case 2: name = try field.text()
      case 5: initializers.append(try field.message("TensorProto"))
      case 11: inputs.append(try field.message("ValueInfoProto"))
      case 12: outputs.append(try field.message("ValueInfoProto"))
      case 13: valueInfos.append(try field.message("ValueInfoProto"))
      case 15: throw ModelError("It has sparse initializers, which are not supported.")
      default: break
      }
    }
  }
}
