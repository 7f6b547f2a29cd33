public import Models
import Vocabulary

/// What the compiler may do to a graph; tests switch parts off and compare the answers.
public struct CompileOptions: Sendable {
  /// Rewrites that leave every output as it is, up to rounding.
  public struct Passes: OptionSet, Sendable {
    /// The bits.
    public let rawValue: Int

    /// Wraps bits.
    public init(rawValue: Int) { self.rawValue = rawValue }

    /// Computes at load what no request changes.
    public static let constantFolding = Passes(rawValue: 1 << 0)
    /// Removes nodes that hand on their input, and spells others more simply.
    public static let simplification = Passes(rawValue: 1 << 1)
    /// Moves normalisation and constant factors into the weights of convolutions.
    public static let convolutionFolding = Passes(rawValue: 1 << 2)
    /// Recognises activations that a file spells out: SiLU, GELU, HardSwish, Mish.
    public static let activationPatterns = Passes(rawValue: 1 << 3)
    /// Recognises layer normalisation that a file spells out.
    public static let normalizationPatterns = Passes(rawValue: 1 << 4)
    /// Makes one operator of attention: two products with a softmax between them.
    public static let attention = Passes(rawValue: 1 << 5)
    /// Joins convolutions, products and normalisations with bias, residual and activation.
    public static let layerFusion = Passes(rawValue: 1 << 6)
    /// Lets transpositions meet and cancel out.
    public static let transposeSinking = Passes(rawValue: 1 << 7)
    /// Makes integer operators of real ones between quantisation nodes.
    public static let quantization = Passes(rawValue: 1 << 8)
    /// Picks rows of a table instead of multiplying it with ones and zeros.
    public static let oneHots = Passes(rawValue: 1 << 9)

    /// Everything that is of use to every backend.
    public static let all: Passes = [
      .constantFolding, .simplification, .convolutionFolding, .activationPatterns,
      .normalizationPatterns, .attention, .layerFusion, .transposeSinking, .quantization,
      .oneHots,
    ]
  }

  /// The rewrites to be done.
  public var passes: Passes
  /// Whether samples of several requests may travel together where that is proven to be right.
  public var batches: Bool
  /// The most bytes of weights in a layer, where layers can be cut; nil for whole layers.
  public var tileBytes: Int?

  /// What the compiler may do to a graph: everything unless told.
  public init(passes: Passes = .all, batches: Bool = true, tileBytes: Int? = nil) {
    self.passes = passes
    self.batches = batches
    self.tileBytes = tileBytes
  }
}

/// Makes programs of graphs: shapes, constants, batch axis, fusion, layers.
public enum Compiler {
  /// Compiles a graph.
  ///
  /// - Returns: A program whose samples are independent along axis 0 when that could be proven,
  ///   also for a graph whose file fixes the batch at 1; else one that runs each request alone.
  /// - Throws: `ModelError`, naming the first node that is not supported or does not fit.
  public static func compile(
    _ graph: Graph, options: CompileOptions = CompileOptions()
  ) throws(ModelError) -> Program {
    let graph = VendorOperators.expand(graph)
    try checkOperators(graph)
    guard options.batches else { return try compileWhole(graph, "batching is off", options) }
    do {
      return try compileBatched(graph, options)
    } catch {
      return try compileWhole(graph, error.reason, options)
    }
  }

  /// Refuses by name what is not supported, subgraphs included.
  private static func checkOperators(_ graph: Graph) throws(ModelError) {
    for node in graph.nodes {
      guard ShapeRules.rule(node) != nil else { throw ShapeRules.unsupported(node) }
      for name in node.attributes.keys.sorted() {
        if let subgraph = node.graph(name) { try checkOperators(subgraph) }
      }
    }
  }

  private static func compileBatched(
    _ graph: Graph, _ options: CompileOptions
  ) throws(BatchRefusal) -> Program {
    var (graph, symbol) = try BatchGeneralisation.run(graph)
    do {
      try Optimisation.beforeBatching(&graph, options.passes)
      let sizes = SizeAlgebra()
      let facts = try ShapeInference.infer(
        graph, inputs: graph.inputs.map { graph[$0].shape }, sizes: sizes)
      let states = try batchStates(graph, facts, symbol, sizes).get()
      try Optimisation.afterBatching(&graph, options.passes)
      return try program(graph, .independent(symbol: symbol), states, options)
    } catch let error as BatchRefusal {
      throw error
    } catch {
      throw BatchRefusal(reason: "\(error)")
    }
  }

  private static func compileWhole(
    _ graph: Graph, _ reason: String, _ options: CompileOptions
  ) throws(ModelError) -> Program {
    var graph = graph
    try Optimisation.beforeBatching(&graph, options.passes)
    try Optimisation.afterBatching(&graph, options.passes)
    return try program(graph, .whole(reason: reason), nil, options)
  }

  private static func batchStates(
    _ graph: Graph, _ facts: [ValueFacts], _ symbol: String, _ sizes: SizeAlgebra
  ) -> Result<[BatchState], BatchRefusal> {
    Result { () throws(BatchRefusal) in
      try BatchAnalysis.run(graph, facts: facts, symbol: symbol, sizes: sizes)
    }
  }

  /// Cuts the finished graph into layers and notes what is known of its values.
  private static func program(
    _ graph: Graph, _ batching: Batching, _ states: [BatchState]?, _ options: CompileOptions
  ) throws(ModelError) -> Program {
    var graph = graph
    if let bytes = options.tileBytes { LayerTiling.run(&graph, tileBytes: bytes) }
    let facts = try ShapeInference.infer(graph)
    for index in graph.values.indices where graph.values[index].constant == nil {
      graph.values[index].type = facts[index].type ?? graph.values[index].type
      graph.values[index].shape = facts[index].shape
    }
    var symbols: Set<String> = []
    for id in graph.inputs {
      for case .symbol(let name) in graph[id].shape ?? [] { symbols.insert(name) }
    }
    if case .independent(let symbol) = batching { symbols.remove(symbol) }
    return Program(
      graph: graph, layers: LayerCutting.run(graph, states: states), batching: batching,
      freeSymbols: symbols.sorted())
  }
}
