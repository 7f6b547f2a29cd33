extension PolicyCatalog {
  /// Demand Layering (Ji et al., RTSS 2022, arXiv 2210.04024): each layer comes in while the one
  /// before it runs, through two buffers; nothing stays, so memory is small and traffic large.
  static let demandLayering = baseline("demand-layering", "layers through two buffers, one request")
  {
    _ in
    BaselineRules(batch: .single, memory: .stream)
  }
}
