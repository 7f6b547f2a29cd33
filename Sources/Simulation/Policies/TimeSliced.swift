extension PolicyCatalog {
  /// Unified memory with the device's time sliced between models: dynamic batches of all models at
  /// once, one layer of each in turn.
  ///
  /// This is the thrashing case: every model's weights are touched in every round.
  static let timeSliced = baseline(
    "time-sliced", "all models at once, layers in turn, unified memory"
  ) { workload in
    BaselineRules(
      batch: .atMost(BaselineRules.batchLimits(workload)), order: .roundRobin, granularity: .layer,
      liveLimit: .max)
  }
}
