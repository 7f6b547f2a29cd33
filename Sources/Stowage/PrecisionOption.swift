import ArgumentParser
import Vocabulary

/// An argument of `--precision`: what one model, or every one that no other argument names, is
/// computed with.
struct PrecisionOption: ExpressibleByArgument, Equatable {
  /// The model; nil for all that are not named.
  var model: String?
  var precision: Precision

  /// Reads `bf16` or `NAME=bf16`.
  init?(argument: String) {
    let parts = argument.split(separator: "=", omittingEmptySubsequences: false)
    guard parts.count <= 2, let last = parts.last, let precision = Precision(rawValue: String(last))
    else { return nil }
    self.precision = precision
    if parts.count == 2 {
      guard !parts[0].isEmpty else { return nil }
      model = String(parts[0])
    }
  }

  /// Reads the precision of the only model.
  static func single(_ argument: String) throws -> Precision {
    guard let precision = Precision(rawValue: argument) else {
      throw ValidationError("'\(argument)' is no precision: give fp32 or bf16.")
    }
    return precision
  }
}
