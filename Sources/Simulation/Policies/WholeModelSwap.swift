extension PolicyCatalog {
  /// Clockwork (Gujarati et al., OSDI 2020): one action at a time by earliest target; a model is
  /// loaded whole before it runs, and the model used longest ago leaves.
  static let clockwork = baseline("clockwork", "whole models loaded before they run, LRU") {
    workload in
    BaselineRules(
      batch: .atMost(BaselineRules.batchLimits(workload)), order: .target,
      memory: .swap(isPipelined: false, keepsOthers: true),
      targets: BaselineRules.targets(workload))
  }

  /// PipeSwitch (Bai et al., OSDI 2020): one model at a time; layers run while the next ones come
  /// in, and the model before is dropped.
  static let pipeSwitch = baseline(
    "pipe-switch", "one model at a time, load pipelined with compute"
  ) {
    workload in
    BaselineRules(
      batch: .atMost(BaselineRules.batchLimits(workload)),
      memory: .swap(isPipelined: true, keepsOthers: false))
  }
}
