public import Vocabulary

/// What each model is computed with.
public struct PrecisionChoice: Sendable, Equatable {
  /// What models are computed with that are not named.
  public var standard: Precision
  /// What the named ones are computed with.
  public var byModel: [String: Precision]

  /// FP32 for all unless told.
  public init(standard: Precision = .float32, byModel: [String: Precision] = [:]) {
    self.standard = standard
    self.byModel = byModel
  }

  /// What a model is computed with.
  public subscript(model: String) -> Precision { byModel[model] ?? standard }
}
