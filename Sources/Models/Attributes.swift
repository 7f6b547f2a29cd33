extension Node {
  /// The integer attribute of this name, or a default.
  public func int(_ name: String, default fallback: Int) -> Int {
    if case .int(let value)? = attributes[name] { value } else { fallback }
  }

  /// The integers of this name, or nil.
  public func ints(_ name: String) -> [Int]? {
    if case .ints(let values)? = attributes[name] { values } else { nil }
  }

  /// The number of this name, or a default.
  public func float(_ name: String, default fallback: Float) -> Float {
    if case .float(let value)? = attributes[name] { value } else { fallback }
  }

  /// The numbers of this name, or nil.
  public func floats(_ name: String) -> [Float]? {
    if case .floats(let values)? = attributes[name] { values } else { nil }
  }

  /// The text of this name, or a default.
  public func string(_ name: String, default fallback: String) -> String {
    if case .string(let value)? = attributes[name] { value } else { fallback }
  }

  /// The subgraph of this name, or nil.
  public func graph(_ name: String) -> Graph? {
    if case .graph(let value)? = attributes[name] { value } else { nil }
  }
}
