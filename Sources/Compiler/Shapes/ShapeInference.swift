public import Models
import Reference
import Vocabulary

/// Finds types and shapes of all values from those of the inputs.
///
/// The same rules serve symbols, when a model is loaded, and numbers, when a request brings shapes
/// not seen before. Integers that are computed from shapes are followed as well, so that a Reshape
/// whose target comes from Shape, Gather and Concat has a known result.
public enum ShapeInference {
  /// Finds concrete shapes for concrete inputs.
  ///
  /// - Parameter inputShapes: One shape per input of the graph.
  /// - Returns: One shape per value; nil where it depends on elements, and for unused values.
  /// - Throws: `ModelError`, when the shapes do not fit the program.
  public static func shapes(
    of program: Program, inputShapes: [[Int]]
  ) throws(ModelError) -> [[Int]?] {
    let facts = try infer(program.graph, inputShapes: inputShapes)
    return facts.map(\.fixedShape)
  }

  /// Finds concrete facts, known elements of shape computations included, for concrete inputs.
  ///
  /// - Throws: `ModelError`, when the shapes do not fit the graph.
  public static func infer(
    _ graph: Graph, inputShapes: [[Int]]
  ) throws(ModelError) -> [ValueFacts] {
    guard inputShapes.count == graph.inputs.count else {
      throw ModelError(
        "The model has \(graph.inputs.count) inputs, but \(inputShapes.count) shapes were given.")
    }
    var symbols: [String: Int] = [:]
    for (id, shape) in zip(graph.inputs, inputShapes) {
      try check(shape, of: graph[id], &symbols)
    }
    return try infer(graph, inputs: inputShapes.map { $0.map(Dimension.fixed) })
  }

  /// Finds facts, some of which are symbols, for the shapes that the graph's inputs declare.
  ///
  /// - Throws: `ModelError`, naming the first node whose inputs do not fit.
  public static func infer(_ graph: Graph) throws(ModelError) -> [ValueFacts] {
    try infer(graph, inputs: graph.inputs.map { graph[$0].shape })
  }

  static func infer(
    _ graph: Graph, inputs: [[Dimension]?], captures: [ValueFacts?] = [],
    sizes: SizeAlgebra = SizeAlgebra()
  ) throws(ModelError) -> [ValueFacts] {
    var pass = InferencePass(graph, inputs: inputs, captures: captures, sizes: sizes)
    for node in graph.nodes { try pass.visit(node) }
    return pass.facts
  }

  /// Applies the rule of one node and checks what it found.
  fileprivate static func apply(_ facts: inout NodeFacts) throws(ModelError) {
    let node = facts.node
    guard let rule = ShapeRules.rule(node) else { throw ShapeRules.unsupported(node) }
    try Reference.requireAlike(node, facts.inputs.map { $0?.type })
    try rule(&facts)
    for output in facts.outputs {
      guard let shape = output.shape else { continue }
      guard shape.count <= Limits.tensorRank else {
        throw facts.refusal("makes a tensor of more than \(Limits.tensorRank) dimensions")
      }
      var count = 1
      for case .fixed(let size) in shape {
        guard size >= 0 else { throw facts.refusal("makes a tensor of shape \(shape.text)") }
        let (product, overflow) = count.multipliedReportingOverflow(by: size)
        guard !overflow, product <= Limits.tensorElements else {
          throw facts.refusal("makes a tensor with too many elements, of shape \(shape.text)")
        }
        count = product
      }
    }
    evaluate(&facts)
  }

  /// Computes small outputs whose inputs are all numbers.
  private static func evaluate(_ facts: inout NodeFacts) {
    guard !facts.inputs.isEmpty, facts.outputs.contains(where: { $0.known == nil }) else { return }
    var operands: [Tensor?] = []
    for input in facts.inputs {
      guard let input else {
        operands.append(nil)
        continue
      }
      guard let tensor = input.known?.smallTensor(type: input.type) else { return }
      operands.append(tensor)
    }
    for output in facts.outputs {
      guard let shape = output.fixedShape, shape.elementCount <= KnownElements.maximumCount
      else { return }
    }
    guard let results = try? Reference.evaluate(facts.node, operands) else { return }
    for (index, tensor) in results.enumerated() where index < facts.outputs.count {
      guard let tensor else { continue }
      facts.outputs[index].known = .tensor(tensor)
    }
  }

  /// Checks a request's shape of one input against what the graph declares.
  private static func check(
    _ shape: [Int], of value: Value, _ symbols: inout [String: Int]
  ) throws(ModelError) {
    guard let declared = value.shape else { return }
    let mismatch = ModelError(
      "Input '\(value.name)' has shape \(shape), but the model needs \(declared.text).")
    guard declared.count == shape.count else { throw mismatch }
    for (wanted, size) in zip(declared, shape) {
      switch wanted {
      case .fixed(let fixed):
        guard fixed == size else { throw mismatch }
      case .symbol(let symbol):
        guard size >= 0, symbols[symbol] ?? size == size else { throw mismatch }
        symbols[symbol] = size
      }
    }
  }
}

/// Inference under way: visits nodes in running order.
struct InferencePass {
  /// What is known so far of each value.
  private(set) var facts: [ValueFacts]
  /// What the file declares, for operators of which no rule says what they make.
  private var declared: [(type: ElementType?, rank: Int?)]
  private let sizes: SizeAlgebra

  init(
    _ graph: Graph, inputs: [[Dimension]?], captures: [ValueFacts?] = [], sizes: SizeAlgebra
  ) {
    self.sizes = sizes
    declared = graph.values.map { ($0.type, $0.shape?.count) }
    facts = graph.values.map(InferencePass.facts(of:))
    for (id, shape) in zip(graph.inputs, inputs) {
      facts[id.index] = ValueFacts(type: graph[id].type, shape: shape)
    }
    for (id, captured) in zip(graph.captures, captures) {
      facts[id.index] = captured ?? ValueFacts()
    }
  }

  /// Finds what there is to know of a node's outputs.
  mutating func visit(_ node: Node) throws(ModelError) {
    var nodeFacts = NodeFacts(node, node.inputs.map { $0.map { facts[$0.index] } }, sizes)
    try ShapeInference.apply(&nodeFacts)
    for (place, id) in node.outputs.enumerated() {
      guard let id else { continue }
      var found = nodeFacts.outputs[place]
      found.type = found.type ?? declared[id.index].type
      if found.shape == nil, let rank = declared[id.index].rank {
        found.shape = nodeFacts.unknown(rank, output: place)
      }
      facts[id.index] = found
    }
  }

  /// Takes in a value that was added to the graph.
  mutating func append(_ value: Value) {
    facts.append(InferencePass.facts(of: value))
    declared.append((value.type, value.shape?.count))
  }

  private static func facts(of value: Value) -> ValueFacts {
    guard let constant = value.constant else { return ValueFacts() }
    return ValueFacts(
      type: constant.type, shape: constant.shape.map(Dimension.fixed), known: .tensor(constant))
  }
}

extension KnownElements {
  /// The elements as a tensor, when all are numbers and few.
  fileprivate func smallTensor(type: ElementType?) -> Tensor? {
    switch self {
    case .tensor(let tensor):
      return tensor.elementCount <= Self.maximumCount ? tensor : nil
    case .sizes(let shape, let elements):
      guard let numbers = elements.fixed else { return nil }
      return Tensor.integers(numbers, shape: shape, type: type ?? .int64)
    }
  }
}

extension Tensor {
  /// An INT64 or INT32 tensor; nil for any other type.
  static func integers(_ elements: [Int], shape: [Int], type: ElementType) -> Tensor? {
    switch type {
    case .int64: return int64s(elements, shape: shape)
    case .int32:
      return make(.int32, shape, as: Int32.self) { target in
        for (index, element) in elements.enumerated() {
          target[index] = Int32(truncatingIfNeeded: element)
        }
      }
    case .bool:
      return make(.bool, shape, as: UInt8.self) { target in
        for (index, element) in elements.enumerated() { target[index] = element == 0 ? 0 : 1 }
      }
    default: return nil
    }
  }
}
