extension PolicyCatalog {
  /// Whole-network batches of eight requests, or what is there after 20 ms; page faults.
  static let fixedBatch = baseline("fixed-batch", "whole-network batches of 8, page faults") { _ in
    BaselineRules(batch: .fixed(requests: 8, seconds: 0.02))
  }
}
