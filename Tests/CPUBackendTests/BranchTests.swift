import Backend
import Compiler
import Models
import Reference
import Testing
import Vocabulary

@testable import CPUBackend

@Suite("Branches")
struct BranchTests {
  /// Adds a value that a subgraph takes from around it.
  private func capture(_ maker: inout GraphMaker) -> ValueID {
    let id = ValueID(maker.graph.values.count)
    maker.graph.values.append(Value(name: "capture\(id.index)"))
    maker.graph.captures.append(id)
    return id
  }

  private func bools(_ values: [Bool]) -> Tensor {
    .make(.bool, values.count == 1 ? [] : [values.count], as: UInt8.self) { elements in
      for (index, value) in values.enumerated() { elements[index] = value ? 1 : 0 }
    }
  }

  /// A network of two branches, which a request chooses; one of them has a branch of its own, for
  /// one sample and for several.
  private func graph(seed: Int) -> Graph {
    var inner = GraphMaker(seed: seed + 50)
    let h = capture(&inner)
    let squared = inner.finish(inner.node("Mul", [h, h]))
    var other = GraphMaker(seed: seed + 60)
    let same = other.finish(other.node("Tanh", [capture(&other)]))
    var yes = GraphMaker(seed: seed + 70)
    let (x, w) = (capture(&yes), capture(&yes))
    let product = yes.node("Relu", [yes.node("MatMul", [x, w])])
    let samples = yes.node("Gather", [yes.node("Shape", [product]), yes.axes([0])])
    let isOne = yes.node("Equal", [samples, yes.axes([1])])
    yes.graph.nodes.append(
      Node(
        name: "inner", operation: "If", opset: 13, inputs: [isOne, product], outputs: [h],
        attributes: ["then_branch": .graph(squared), "else_branch": .graph(same)]))
    let made = ValueID(yes.graph.values.count)
    yes.graph.values.append(Value(name: "made"))
    yes.graph.nodes[yes.graph.nodes.count - 1].outputs = [made]
    let first = yes.finish(yes.node("Add", [made, yes.weight([16])]))
    var no = GraphMaker(seed: seed + 80)
    let (z, v) = (capture(&no), capture(&no))
    let scaled = no.node("Sigmoid", [no.node("MatMul", [z, v])])
    let second = no.finish(seed % 2 == 0 ? scaled : no.node("Softmax", [scaled]))
    var maker = GraphMaker(seed: seed)
    let input = maker.input([24])
    let condition = ValueID(maker.graph.values.count)
    maker.graph.values.append(Value(name: "condition", type: .bool, shape: []))
    maker.graph.inputs.append(condition)
    let weight = maker.weight([24, 16], scale: 0.3)
    let before = maker.node("Neg", [input])
    let output = maker.node(
      "If", [condition, before, weight],
      ["then_branch": .graph(first), "else_branch": .graph(second)])
    return maker.finish(maker.node("Mul", [output, maker.weight([16])]))
  }

  @Test("Each branch has kernels, and a request runs the one it chooses", arguments: 0..<4)
  func branches(seed: Int) throws {
    let graph = graph(seed: seed)
    let program = try Compiler.compile(graph)
    let model = try CPUBackend().load(program, options: LoadOptions(maximumBatch: 1, units: [1]))
    let planned = try #require(model as? CPUModel)
    var random = Seeded(seed)
    for samples in [1, 5, 1] {
      let x = random.tensor([samples, 24])
      let plan = try planned.plan(samples: 1, inputShapes: [[samples, 24], []], units: 1)
      let kernels = plan.steps.compactMap { $0.kernel as? BranchKernel }
      #expect(kernels.count == 1)
      #expect(kernels.allSatisfy { $0.branches.yes != nil && $0.branches.no != nil })
      for condition in [true, false] {
        let inputs = [x, bools([condition])]
        let workspace = try model.makeWorkspace(samples: 1, inputShapes: inputs.map(\.shape))
        for (index, tensor) in inputs.enumerated() { workspace.setInput(index, to: tensor) }
        try model.run(0..<program.layers.count, samples: 0..<1, in: workspace, units: 1)
        expectClose(
          [workspace.output(0, samples: 0..<1)], try Interpreter.run(graph, inputs: inputs),
          "\(samples) samples, \(condition)", #_sourceLocation)
        // The optimised graph means the same.
        expectClose(
          try Interpreter.run(program.graph, inputs: inputs),
          try Interpreter.run(graph, inputs: inputs), "optimised", #_sourceLocation)
      }
    }
  }
}
