import Compiler
public import Models
import Reference
import Testing
import Vocabulary

/// Builds graphs in code, with weights from a seeded generator.
final class GraphBuilder {
  private var graph = Graph(name: "test", values: [], nodes: [], inputs: [], outputs: [])
  private var random: SeededGenerator
  let opset: Int

  init(opset: Int = 17, seed: UInt64 = 1) {
    self.opset = opset
    random = SeededGenerator(seed: seed)
  }

  /// An input; an integer is a fixed size, a string a symbol.
  func input(
    _ name: String, _ shape: [Dimension], type: ElementType = .float32
  ) -> ValueID {
    let id = value(Value(name: name, type: type, shape: shape))
    graph.inputs.append(id)
    return id
  }

  /// In a subgraph, a value of the graph around it.
  func capture(_ name: String) -> ValueID {
    let id = value(Value(name: name))
    graph.captures.append(id)
    return id
  }

  /// A constant of seeded random numbers between -1 and 1.
  func weight(_ shape: [Int], from low: Float = -1, to high: Float = 1) -> ValueID {
    constant(random.tensor(shape, from: low, to: high))
  }

  func constant(_ tensor: Tensor) -> ValueID {
    value(Value(name: "constant\(graph.values.count)", type: tensor.type, constant: tensor))
  }

  func ints(_ elements: [Int], shape: [Int]? = nil) -> ValueID {
    constant(
      .make(.int64, shape ?? [elements.count], as: Int64.self) { target in
        for (index, element) in elements.enumerated() { target[index] = Int64(element) }
      })
  }

  func scalar(_ element: Float) -> ValueID {
    constant(.make(.float32, [], as: Float.self) { $0[0] = element })
  }

  /// A node with one output.
  @discardableResult
  func node(
    _ operation: String, _ inputs: [ValueID?], _ attributes: [String: Attribute] = [:],
    name: String? = nil, opset: Int? = nil
  ) -> ValueID {
    nodes(operation, inputs, outputs: 1, attributes, name: name, opset: opset)[0]
  }

  /// A node with several outputs.
  func nodes(
    _ operation: String, _ inputs: [ValueID?], outputs count: Int,
    _ attributes: [String: Attribute] = [:], name: String? = nil, opset: Int? = nil
  ) -> [ValueID] {
    let name = name ?? "\(operation)\(graph.nodes.count)"
    let outputs = (0..<count).map { value(Value(name: "\(name).\($0)")) }
    graph.nodes.append(
      Node(
        name: name, operation: operation, opset: opset ?? self.opset, inputs: inputs,
        outputs: outputs, attributes: attributes))
    return outputs
  }

  func finish(_ outputs: ValueID...) -> Graph {
    var result = graph
    result.outputs = outputs
    return result
  }

  private func value(_ value: Value) -> ValueID {
    graph.values.append(value)
    return ValueID(graph.values.count - 1)
  }
}

extension Dimension: ExpressibleByIntegerLiteral, ExpressibleByStringLiteral {
  /// A fixed size.
  public init(integerLiteral size: Int) { self = .fixed(size) }

  /// A symbol.
  public init(stringLiteral name: String) { self = .symbol(name) }
}

/// SplitMix64: the same numbers on every machine.
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }

  mutating func tensor(_ shape: [Int], from low: Float = -1, to high: Float = 1) -> Tensor {
    .make(.float32, shape, as: Float.self) { target in
      for index in target.indices { target[index] = Float.random(in: low...high, using: &self) }
    }
  }
}

/// Runs a graph as it is and compiled, on the same random inputs, and compares the outputs.
///
/// - Parameter shapes: One concrete shape per input.
/// - Returns: The program.
@discardableResult
func expectSameAnswers(
  _ graph: Graph, shapes: [[Int]], options: CompileOptions = CompileOptions(), seed: UInt64 = 7,
  sourceLocation: SourceLocation = #_sourceLocation
) throws -> Program {
  var random = SeededGenerator(seed: seed)
  let inputs = shapes.map { random.tensor($0) }
  let expected = try Interpreter.run(graph, inputs: inputs)
  let program = try Compiler.compile(graph, options: options)
  let actual = try Interpreter.run(program.graph, inputs: inputs)
  expectClose(actual, expected, seed: seed, sourceLocation: sourceLocation)
  return program
}

/// Checks that a program treats samples of a batch as the graph treats each alone.
func expectBatched(
  _ graph: Graph, sampleShapes: [[Int]], samples: Int = 3, seed: UInt64 = 11,
  sourceLocation: SourceLocation = #_sourceLocation
) throws {
  var random = SeededGenerator(seed: seed)
  let program = try Compiler.compile(graph)
  guard case .independent = program.batching else {
    Issue.record("\(program.batching)", sourceLocation: sourceLocation)
    return
  }
  let batch = sampleShapes.map { random.tensor([samples] + $0) }
  let together = try Interpreter.run(program.graph, inputs: batch)
  for sample in 0..<samples {
    let alone = try Interpreter.run(graph, inputs: batch.map { $0.sample(sample) })
    expectClose(
      together.map { $0.sample(sample) }, alone, seed: seed, sourceLocation: sourceLocation)
  }
}

func expectClose(
  _ actual: [Tensor], _ expected: [Tensor], tolerance: Float = 1e-4, seed: UInt64,
  sourceLocation: SourceLocation = #_sourceLocation
) {
  #expect(actual.map(\.shape) == expected.map(\.shape), sourceLocation: sourceLocation)
  for (left, right) in zip(actual, expected) where left.type == .float32 {
    let pairs = zip(left.elements, right.elements)
    let worst = pairs.map { abs($0 - $1) / max(1, abs($1)) }.max() ?? 0
    #expect(worst <= tolerance, "seed \(seed)", sourceLocation: sourceLocation)
  }
}

extension Tensor {
  var elements: [Float] { withElements(as: Float.self) { Array($0) } }

  /// One entry of the first axis, which stays.
  func sample(_ index: Int) -> Tensor {
    let each = elementCount / shape[0]
    let part = Array(elements[index * each..<(index + 1) * each])
    return .make(.float32, [1] + shape.dropFirst(), as: Float.self) { target in
      for (place, element) in part.enumerated() { target[place] = element }
    }
  }
}
