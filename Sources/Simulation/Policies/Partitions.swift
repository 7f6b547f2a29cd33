import Scheduling

extension PolicyCatalog {
  /// gpulet (Choi et al., USENIX ATC 2022, arXiv 2109.01611): at most two partitions of the units,
  /// the largest batch that takes half the target, models in turn inside a partition; memory is not
  /// managed.
  static let gpulet = baseline("gpulet", "two partitions, batches by half the target") { workload in
    let units = workload.device.units
    let sizes = units > 1 ? [max(units * 2 / 5, 1), units - max(units * 2 / 5, 1)] : [1]
    return partitioned(workload, sizes: sizes, order: .roundRobin)
  }

  /// iGniter (Xu et al., IEEE TPDS 2023, arXiv 2211.01713): each model its own share of the units,
  /// as large as its batch needs to take half the target; memory is not managed.
  ///
  /// With fewer units than models some share one.
  static let igniter = baseline("igniter", "a share of the units per model by its target") {
    workload in
    let units = workload.device.units
    let count = min(units, workload.models.count)
    let needs = workload.models.map { model in
      (1...units).first { share in
        BaselineRules.seconds(model.profile, batch: 1, units: share)
          <= (BaselineRules.targets(workload).first ?? 0) / 2
      } ?? units
    }
    var sizes = Array(repeating: 1, count: count)
    var left = units - count
    while left > 0 {
      let neediest = sizes.indices.max { needs[$0] * sizes[$1] < needs[$1] * sizes[$0] } ?? 0
      sizes[neediest] += 1
      left -= 1
    }
    return partitioned(workload, sizes: sizes, order: .arrival)
  }

  /// Models dealt out to partitions: the most work first, to where least work is per unit.
  private static func partitioned(
    _ workload: Workload, sizes: [Int], order: BaselineRules.Order
  ) -> BaselineRules {
    let targets = BaselineRules.targets(workload)
    let limits = BaselineRules.batchLimits(workload)
    let work = workload.models.map {
      BaselineRules.seconds($0.profile, batch: 1, units: workload.device.units)
        * ($0.arrivals.rate ?? 1)
    }
    var load = sizes.map { _ in 0.0 }
    var places = workload.models.map { _ in 0 }
    for model in work.indices.sorted(by: { work[$0] > work[$1] }) {
      let place = load.indices.min {
        (load[$0] + work[model]) / Double(sizes[$0]) < (load[$1] + work[model]) / Double(sizes[$1])
      }
      places[model] = place ?? 0
      load[places[model]] += work[model]
    }
    let batches = workload.models.enumerated().map { index, model in
      (1...limits[index]).last { batch in
        BaselineRules.seconds(model.profile, batch: batch, units: sizes[places[index]])
          <= targets[index] / 2
      } ?? 1
    }
    return BaselineRules(
      batch: .atMost(batches), order: order,
      units: .partitions(units: sizes, ofModel: places), targets: targets)
  }
}
