extension PolicyCatalog {
  /// PREMA (Choi and Rhu, HPCA 2020, arXiv 1909.04548): one request at a time, pre-empted at layer
  /// borders; those slowed down most hold tokens, and of these the shortest goes; page faults.
  static let prema = baseline("prema", "tokens and predicted length, pre-emption at layers") { _ in
    BaselineRules(batch: .single, order: .tokens, granularity: .layer, liveLimit: .max)
  }
}
