import Scheduling
import Vocabulary

extension PolicyCatalog {
  /// BARM, reconstructed (Liu et al., IEEE TPDS 33, 2022; only the abstract is public).
  ///
  /// All models run side by side, one request each. Compute units go where they save most time,
  /// page faults included: a faulting run gains by more units because each keeps only so many
  /// faults outstanding, and larger *fault batches* cost less per fault (its "batch" is the fault
  /// batch of Kim et al., ASPLOS 2020, not the inference batch). Memory is divided into quotas that
  /// hold at least the largest layer, so that no model evicts another one's pages.
  static let barm = baseline("barm", "BARM, reconstructed: fault batches, quotas, side by side") {
    workload in
    BaselineRules(
      batch: .single, granularity: .layer, liveLimit: .max, units: .marginal,
      memory: .quotas(quotas(workload)))
  }

  /// Memory for the weights of each model: its largest layer, and of the rest a share by size.
  static func quotas(_ workload: Workload) -> [Int] {
    let largest = workload.models.map { model in
      model.profile.layers.map(\.weights.bytes).max() ?? 0
    }
    let weights = workload.models.map(\.profile.weights.bytes)
    let all = max(weights.reduce(0, +), 1)
    let rest = max(workload.budget.bytes * 9 / 10 - largest.reduce(0, +), 0)
    return workload.models.indices.map { index in
      min(largest[index] + Int(Double(rest) * Double(weights[index]) / Double(all)), weights[index])
    }
  }
}
