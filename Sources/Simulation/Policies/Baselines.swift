extension PolicyCatalog {
  /// What we are compared with.
  ///
  /// All see the same cost tables; those marked as reconstructed are our
  /// reading of work whose full text is not public.
  public static let baselines: [Entry] = [
    noBatching, fixedBatch, dynamicBatching, timeSliced, barm, thesis, lazyBatching, dvaBatch,
    gpulet,
    igniter, prema, clockwork, pipeSwitch, demandLayering, msched,
  ]

  static func baseline(
    _ name: String, _ summary: String, rules: @escaping @Sendable (Workload) -> BaselineRules
  ) -> Entry {
    Entry(name: name, summary: summary, isPlanned: false) { Baseline(rules($0), $0) }
  }
}
