import Scheduling

extension PolicyCatalog {
  /// DVABatch (Cui et al., USENIX ATC 2022): networks in stages; at stage borders a batch can
  /// stretch by late arrivals, and batches are no larger than where the time per sample becomes
  /// flat (its split); first come, first served; page faults.
  static let dvaBatch = baseline("dva-batch", "stages that stretch and split, page faults") {
    workload in
    let limits = BaselineRules.batchLimits(workload)
    let flat = workload.models.enumerated().map { index, model in
      flatBatch(model.profile, units: workload.device.units, most: limits[index])
    }
    return BaselineRules(batch: .atMost(flat), granularity: .stages(4), merges: true)
  }

  /// The smallest batch whose time per sample is within 5 % of the best.
  private static func flatBatch(_ profile: ModelProfile, units: Int, most: Int) -> Int {
    func each(_ batch: Int) -> Double {
      BaselineRules.seconds(profile, batch: batch, units: units) / Double(batch)
    }
    let best = (1...most).map(each).min() ?? 0
    return (1...most).first { each($0) <= best * 1.05 } ?? most
  }
}
