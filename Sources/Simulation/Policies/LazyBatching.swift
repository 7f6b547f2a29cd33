extension PolicyCatalog {
  /// LazyBatching (Choi, Kim and Rhu, HPCA 2021, arXiv 2010.13103): requests that come during a
  /// batch run ahead node by node and merge with it where they have caught up, as long as the slack
  /// against the target allows; page faults and least recent use.
  static let lazyBatching = baseline(
    "lazy-batching", "node-level catch-up and merge by slack, page faults"
  ) { workload in
    BaselineRules(
      batch: .atMost(BaselineRules.batchLimits(workload)), order: .newest, granularity: .layer,
      merges: true, targets: BaselineRules.targets(workload))
  }
}
