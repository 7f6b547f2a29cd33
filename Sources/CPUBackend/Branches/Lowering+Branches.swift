import Compiler
import Models
import Vocabulary

extension Lowering {
  /// Two branches, each with kernels of its own, of which a run takes one.
  mutating func lowerBranch(_ node: Node) throws(ModelError) -> Bool {
    guard let condition = node.inputs.first ?? nil, try type(condition) == .bool,
      !node.outputs.isEmpty, node.outputs.allSatisfy({ $0 != nil }),
      node.inputs.allSatisfy({ $0 != nil })
    else { return false }
    var (operands, inputs) = ([Plan.Operand](), [ReferenceKernel.Input]())
    for case let id? in node.inputs {
      if let constant = program.graph[id].constant {
        inputs.append(.constant(constant))
      } else {
        let buffer = try value(id, .plain)
        inputs.append(
          .operand(operands.count, type: forms[buffer].type, shape: forms[buffer].shape))
        operands.append(.buffer(buffer))
      }
    }
    guard case .operand(0, _, _)? = inputs.first else { return false }
    let first = operands.count
    // What follows from shapes alone is decided here.
    let known = constant(condition)?.withElements(as: UInt8.self) { $0.first }
    let yes = known == 0 ? nil : branch(node, "then_branch", inputs, outputs: first)
    let no = known == 1 ? nil : branch(node, "else_branch", inputs, outputs: first)
    guard yes != nil || no != nil else { return false }
    var outputs: [(operand: Int, byteCount: Int)?] = []
    for case let id? in node.outputs {
      let buffer = try makeBuffer(id, .plain)
      outputs.append(
        (operands.count, forms[buffer].shape.elementCount * forms[buffer].type.byteSize))
      operands.append(.buffer(buffer))
    }
    let kernel = BranchKernel(
      branches: (yes, no), plain: ReferenceKernel(node: node, inputs: inputs, outputs: outputs))
    steps.append(Plan.Step(kernel: kernel, operands: operands, writes: operands.count - first))
    return true
  }

  /// The plan of a branch for the shapes that its captures have; nil where it has none.
  ///
  /// - Parameters:
  ///   - inputs: What the node reads.
  ///   - first: The operand of the first output.
  private func branch(
    _ node: Node, _ name: String, _ inputs: [ReferenceKernel.Input], outputs first: Int
  ) -> BranchPlan? {
    guard let body = node.graph(name), body.outputs.count == node.outputs.count,
      let main = node.outputs[0],
      let sub = model.branch(main, name, layer: layer, make: { Self.program(body, inputs) })
    else { return nil }
    var (shapes, places) = ([[Int]](), [Int]())
    for case .operand(let place, _, let shape) in inputs.suffix(body.captures.count) {
      shapes.append(shape)
      places.append(place)
    }
    guard let plan = try? sub.plan(samples: 1, inputShapes: shapes, units: units) else {
      return nil
    }
    for (index, id) in node.outputs.enumerated() {
      guard let id, let shape = try? shape(id), let type = try? type(id),
        plan.outputShapes[index] == shape, plan.outputTypes[index] == type
      else { return nil }
    }
    return BranchPlan(plan, inputs: places, outputs: node.outputs.indices.map { first + $0 })
  }

  /// A branch as a program of one layer that takes what it reads from around it as inputs; nil
  /// where not all of its shapes follow from those.
  private static func program(_ body: Graph, _ inputs: [ReferenceKernel.Input]) -> Program? {
    var graph = body
    graph.captures = []
    var shapes: [[Int]] = []
    for (capture, input) in zip(body.captures, inputs.suffix(body.captures.count)) {
      switch input {
      case .constant(let tensor): graph[capture].constant = tensor
      case .operand(_, let type, let shape):
        graph[capture].constant = nil
        graph[capture].type = type
        graph[capture].shape = nil
        graph.inputs.append(capture)
        shapes.append(shape)
      case .missing: return nil
      }
    }
    let all = Layer(name: body.name, nodes: graph.nodes.indices, weights: [], liveAfter: [])
    return Program(
      graph: graph, layers: [all], batching: .whole(reason: "It is a branch."), freeSymbols: [])
  }
}
