extension PolicyCatalog {
  /// Whole-network dynamic batching as in the Triton Inference Server: what waits goes together, up
  /// to the maximum batch, after the queue delay; models in turn; page faults and least recent use.
  static let dynamicBatching = baseline(
    "dynamic-batching", "whole-network dynamic batches (Triton), page faults"
  ) { workload in
    BaselineRules(batch: .atMost(BaselineRules.batchLimits(workload)), order: .roundRobin)
  }
}
