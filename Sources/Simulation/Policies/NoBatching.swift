extension PolicyCatalog {
  /// One request at a time, first come, first served, on all units; page faults and least recent
  /// use.
  static let noBatching = baseline("no-batching", "one request at a time, page faults") { _ in
    BaselineRules(batch: .single)
  }
}
