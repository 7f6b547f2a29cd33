import Models

/// The passes in their order.
enum Optimisation {
  /// Rounds of folding and simplifying: each may open the way for the other.
  private static let maximumRounds = 16

  /// What makes the proof of independence easier: constants folded, idle nodes gone.
  static func beforeBatching(
    _ graph: inout Graph, _ passes: CompileOptions.Passes
  ) throws(ModelError) {
    DeadNodes.run(&graph)
    for _ in 0..<maximumRounds {
      let facts = try ShapeInference.infer(graph)
      var hasChanged = false
      if passes.contains(.constantFolding) {
        hasChanged = try ConstantFolding.run(
          &graph, facts: facts, keepsQuantized: passes.contains(.quantization))
      }
      if passes.contains(.simplification) {
        hasChanged = Simplification.run(&graph, facts: facts) || hasChanged
        hasChanged = BranchInlining.run(&graph) || hasChanged
      }
      if passes.contains(.transposeSinking) {
        hasChanged = try TransposeSinking.run(&graph) || hasChanged
      }
      DeadNodes.run(&graph)
      if !hasChanged { return }
    }
  }

  /// What makes layers of nodes.
  static func afterBatching(
    _ graph: inout Graph, _ passes: CompileOptions.Passes
  ) throws(ModelError) {
    var passes = passes
    if passes.contains(.quantization) {
      let facts = try ShapeInference.infer(graph)
      QuantizationFolding.run(&graph, facts: facts)
      passes.remove(.quantization)
      try beforeBatching(&graph, passes)
    }
    if passes.contains(.activationPatterns) { ActivationPatterns.run(&graph) }
    if passes.contains(.oneHots) {
      let facts = try ShapeInference.infer(graph)
      OneHotFolding.run(&graph, facts: facts)
    }
    if passes.contains(.normalizationPatterns) {
      let facts = try ShapeInference.infer(graph)
      NormalizationPatterns.run(&graph, facts: facts)
    }
    if passes.contains(.attention) {
      let facts = try ShapeInference.infer(graph)
      AttentionFusion.run(&graph, facts: facts)
      try beforeBatching(&graph, passes)
    }
    if passes.contains(.convolutionFolding) {
      let facts = try ShapeInference.infer(graph)
      ConvolutionFolding.run(&graph, facts: facts)
      DeadNodes.run(&graph)
    }
    if passes.contains(.layerFusion) {
      let facts = try ShapeInference.infer(graph)
      LayerFusion.run(&graph, facts: facts)
    }
    DeadNodes.run(&graph)
    if passes.contains(.simplification) { try BranchOptimisation.run(&graph, passes) }
  }
}
