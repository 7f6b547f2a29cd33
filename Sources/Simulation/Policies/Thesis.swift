import Scheduling
import Vocabulary

extension PolicyCatalog {
  /// The thesis, reconstructed (Liu, NTUST 2023; abstract and contents are public, the text is
  /// not).
  ///
  /// BARM's unit dispatcher and quotas, with inference batches: what waits travels together, and
  /// each layer takes the largest layer batch whose activations fit into the model's quota beside
  /// the layer's weights, greedily, layer by layer. Weights come in by page faults.
  static let thesis = baseline(
    "thesis", "the thesis, reconstructed: a batch per layer, fault batches, quotas"
  ) { workload in
    let quotas = quotas(workload)
    let share = workload.budget.bytes / max(workload.models.count, 1)
    let limits = workload.models.enumerated().map { index, model in
      BaselineRules.largestBatch(model.profile, memory: max(share, quotas[index]))
    }
    let layerBatches = workload.models.enumerated().map { index, model in
      var before = model.profile.input.bytes
      return model.profile.layers.map { layer in
        let each = before + layer.activations.bytes + layer.scratch.bytes
        before = layer.activations.bytes
        let room = max(share - layer.weights.bytes, each)
        return min(max(room / max(each, 1), 1), max(limits[index], 1))
      }
    }
    return BaselineRules(
      batch: .atMost(limits), granularity: .layer, liveLimit: .max, units: .marginal,
      memory: .quotas(quotas), layerBatches: layerBatches)
  }
}
