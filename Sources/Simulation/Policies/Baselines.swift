extension PolicyCatalog {
  /// What we are compared with.
  public static let baselines: [Entry] = []
}
