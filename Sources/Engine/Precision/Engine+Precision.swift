import Backend
import Compiler
import Logging
import Models
import Vocabulary

extension Engine {
  /// What a model's reduced precision costs: kept beside its packed weights, or measured now and
  /// told to the log; nil in FP32, and where it cannot be measured.
  func precisionLoss(
    of name: String, version: String, _ program: Program, _ sources: [FileStamp],
    _ reduced: PrecisionCheck.Side, _ options: LoadOptions
  ) throws(ModelError) -> PrecisionLoss? {
    guard options.precision != .float32 else { return nil }
    let place = reduced.packed.map { ($0.file.path + PrecisionFile.suffix, $0.key) }
    if let place, let known = PrecisionFile.read(place.0, key: place.1) {
      tell(known, of: name, options.precision)
      return known
    }
    let exactOptions = LoadOptions(maximumBatch: 1, units: [1])
    let (model, packed) = try loadWeights(
      name, version: version, program, sources, exactOptions)
    defer { if let packed { configuration.packed?.remove(packed.file.path) } }
    let check = PrecisionCheck(
      program: program, exact: PrecisionCheck.Side(model: model, packed: packed), reduced: reduced)
    guard let loss = try check.measure() else {
      let reason = "could not be measured, because no inputs can be made up for it"
      logger.info(
        "Model '\(name)' computes in \(options.precision.rawValue); what that costs \(reason).")
      return nil
    }
    if let place { PrecisionFile.write(loss, place.0, key: place.1) }
    tell(loss, of: name, options.precision)
    return loss
  }

  private func tell(_ loss: PrecisionLoss, of name: String, _ precision: Precision) {
    let what = "on seeded random inputs its outputs differ from those in fp32 by \(loss)"
    logger.info("Model '\(name)' computes in \(precision.rawValue): \(what).")
  }
}
