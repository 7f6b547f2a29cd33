import Backend
import Compiler
import Models
import Reference
import Testing
import Vocabulary

@testable import CPUBackend

@Suite("Shapes that depend on elements")
struct StagedModelTests {
  /// A convolution, then the places and sizes of what is positive in it, then a product of those.
  private func detector(seed: Int) -> Graph {
    var maker = GraphMaker(seed: seed)
    let x = maker.input([3, 9, 10])
    let w = maker.weight([8, 3, 3, 3], scale: 0.3)
    let features = maker.node("Relu", [maker.node("Conv", [x, w])])
    let places = maker.node("Transpose", [maker.node("NonZero", [features])])
    let found = maker.node("GatherND", [features, places])
    let row = maker.node("Reshape", [found, maker.integers([-1, 1])])
    let product = maker.node("MatMul", [row, maker.weight([1, 6])])
    let scaled = maker.node("Softmax", [maker.node("Tanh", [product])], ["axis": .int(1)])
    return maker.finish(scaled, places, features)
  }

  @Test("A network goes on with what NonZero found, whatever it found", arguments: 0..<6)
  func dataDependent(seed: Int) throws {
    let graph = detector(seed: seed)
    var random = Seeded(seed + 500)
    let program = try Compiler.compile(graph)
    let model = try CPUBackend().load(program, options: LoadOptions(maximumBatch: 1, units: [1]))
    #expect(model is StagedModel)
    var counts: Set<Int> = []
    for _ in 0..<3 {
      let input = random.tensor([1 + seed % 2, 3, 9, 10])
      let expected = try Interpreter.run(graph, inputs: [input])
      counts.insert(expected[0].shape[0])
      // In one go, layer by layer, and in two parts.
      let count = program.layers.count
      for cuts in [[0, count], Array(0...count), [0, count / 2, count]] {
        let workspace = try model.makeWorkspace(samples: 1, inputShapes: [input.shape])
        workspace.setInput(0, to: input)
        for (from, to) in zip(cuts, cuts.dropFirst()) {
          try model.run(from..<to, samples: 0..<1, in: workspace, units: 1)
          workspace.releaseValues(before: to)
        }
        for (index, right) in expected.enumerated() {
          let answer = workspace.output(index, samples: 0..<1)
          try #require(answer.shape == right.shape, "seed \(seed), cuts \(cuts)")
          let worst = zip(elements(answer), elements(right)).map { abs($0 - $1) }.max() ?? 0
          #expect(worst <= 1e-4, "seed \(seed), cuts \(cuts)")
        }
      }
    }
    #expect(counts.count > 1, "the inputs must differ in what is found")
  }

  @Test("Nothing found makes empty tensors, not a failure")
  func nothing() throws {
    let graph = detector(seed: 1)
    let zeros = Tensor.make(.float32, [1, 3, 9, 10], as: Float.self) { _ in }
    let program = try Compiler.compile(graph)
    let model = try CPUBackend().load(program, options: LoadOptions(maximumBatch: 1, units: [1]))
    let workspace = try model.makeWorkspace(samples: 1, inputShapes: [zeros.shape])
    workspace.setInput(0, to: zeros)
    try model.run(0..<program.layers.count, samples: 0..<1, in: workspace, units: 1)
    #expect(workspace.output(0, samples: 0..<1).shape == [0, 6])
    #expect(workspace.output(1, samples: 0..<1).shape == [0, 4])
  }

  @Test("The elements of an input can be a shape")
  func targetShape() throws {
    var maker = GraphMaker(seed: 3)
    let x = maker.input([4, 6])
    let shape = maker.integerInput([2])
    let y = maker.node("Exp", [maker.node("Reshape", [maker.node("Relu", [x]), shape])])
    let graph = maker.finish(y)
    var random = Seeded(3)
    for target in [[6, 4], [-1, 3], [1, 24]] {
      let inputs = [random.tensor([1, 4, 6]), Tensor.integers(target, [2])]
      let right = try Interpreter.run(graph, inputs: inputs)[0]
      let program = try Compiler.compile(graph)
      let model = try CPUBackend().load(program, options: LoadOptions(maximumBatch: 1, units: [1]))
      let workspace = try model.makeWorkspace(samples: 1, inputShapes: inputs.map(\.shape))
      for (index, tensor) in inputs.enumerated() { workspace.setInput(index, to: tensor) }
      try model.run(0..<program.layers.count, samples: 0..<1, in: workspace, units: 1)
      let answer = workspace.output(0, samples: 0..<1)
      #expect(answer.shape == right.shape)
      #expect(zip(elements(answer), elements(right)).allSatisfy { abs($0 - $1) < 1e-5 })
    }
  }
}

extension GraphMaker {
  /// A constant of INT64.
  mutating func integers(_ values: [Int]) -> ValueID {
    graph.values.append(
      Value(
        name: "c\(graph.values.count)", type: .int64, shape: [.fixed(values.count)],
        constant: .integers(values, [values.count])))
    return ValueID(graph.values.count - 1)
  }

  /// An input of INT64.
  fileprivate mutating func integerInput(_ shape: [Int]) -> ValueID {
    graph.values.append(
      Value(name: "x\(graph.values.count)", type: .int64, shape: shape.map(Dimension.fixed)))
    graph.inputs.append(ValueID(graph.values.count - 1))
    return ValueID(graph.values.count - 1)
  }
}
