import Scheduling

/// Follows the steps of a plan and says what is wrong with them: written apart from the planner.
struct Replay {
  let instance: Instance
  private(set) var problems: [String] = []
  private(set) var makespan = 0.0
  private(set) var sumOfCompletions = 0.0

  private var waiting: [Int]
  private var resident: [Double]
  /// Transfers so far, which may still be under way.
  private var transfers: [NetworkPlan.Transfer] = []
  private var link = 0.0
  private static let tolerance = 1e-6

  /// What is wrong with a plan; empty when it can happen as it is written.
  static func problems(of plan: NetworkPlan, _ instance: Instance) -> [String] {
    var replay = Replay(instance)
    for (index, step) in plan.steps.enumerated() { replay.follow(step, plan, index) }
    replay.finish(plan)
    return replay.problems
  }

  private init(_ instance: Instance) {
    self.instance = instance
    waiting = [instance.samples] + Array(repeating: 0, count: instance.layers.count)
    resident = Array(repeating: 0, count: instance.layers.count)
  }

  private mutating func expect(_ condition: Bool, _ problem: String, _ step: Int) {
    if !condition { problems.append("step \(step): \(problem)") }
  }

  private mutating func follow(_ step: NetworkPlan.Step, _ plan: NetworkPlan, _ index: Int) {
    let kernel = instance.layers[step.layer].kernels[plan.kernels[step.layer]]
    for drop in step.drops {
      resident[drop.layer] -= drop.megabytes
      expect(resident[drop.layer] > -Self.tolerance, "drops what is not resident", index)
    }
    for transfer in step.transfers { follow(transfer, of: step, plan, index) }
    let needed = kernel.weights / Double(step.tile?.count ?? 1)
    let coming = transfers.filter {
      $0.layer == step.layer && $0.end > step.start + Self.tolerance
    }
    let there = coming.reduce(resident[step.layer]) { $0 - $1.megabytes }
    expect(there > needed - Self.tolerance, "its weights are not there", index)
    expect(step.start > makespan - Self.tolerance, "begins before the one before is over", index)
    expect(step.samples <= waiting[step.layer], "its samples have not come so far", index)
    if step.tile == nil {
      let time = kernel.time.milliseconds(samples: step.samples)
      expect(abs(step.end - step.start - time) < Self.tolerance, "takes another time", index)
      expect(resident.reduce(0, +) + activations(step, kernel) < limit, "exceeds memory", index)
    }
    expect(step.weights + step.activations < limit, "says that it exceeds memory", index)
    makespan = step.end
    guard step.tile.map({ $0.index == $0.count - 1 }) ?? true else { return }
    waiting[step.layer] -= step.samples
    waiting[step.layer + 1] += step.samples
    if step.layer == instance.layers.count - 1 {
      sumOfCompletions += Double(step.samples) * step.end
    }
  }

  private var limit: Double { instance.memory + Self.tolerance }

  private func activations(_ step: NetworkPlan.Step, _ kernel: Instance.Kernel) -> Double {
    var total = kernel.scratch
    for layer in instance.layers.indices.dropFirst() {
      total += Double(waiting[layer]) * instance.layers[layer - 1].activations
    }
    if step.layer < instance.layers.count - 1 {
      total += Double(step.samples) * instance.layers[step.layer].activations
    }
    return total
  }

  private mutating func follow(
    _ transfer: NetworkPlan.Transfer, of step: NetworkPlan.Step, _ plan: NetworkPlan,
    _ index: Int
  ) {
    let kernel = instance.layers[transfer.layer].kernels[plan.kernels[transfer.layer]]
    let time = instance.linkLatency + transfer.megabytes / instance.linkRate
    expect(transfer.start > link - Self.tolerance, "two transfers at a time", index)
    expect(transfer.start > makespan - Self.tolerance, "a transfer before its step", index)
    expect(transfer.start < step.end + Self.tolerance, "a transfer after its step", index)
    expect(abs(transfer.end - transfer.start - time) < Self.tolerance, "a wrong time", index)
    if !instance.prefetch {
      expect(transfer.end < step.start + Self.tolerance, "overlap without prefetch", index)
    }
    link = transfer.end
    transfers.append(transfer)
    resident[transfer.layer] += transfer.megabytes
    expect(
      resident[transfer.layer] < kernel.weights + Self.tolerance, "pages in twice", index)
  }

  private mutating func finish(_ plan: NetworkPlan) {
    let count = plan.steps.count
    expect(waiting.last == instance.samples, "not all samples are through", count)
    expect(abs(makespan - plan.makespan) < Self.tolerance, "another makespan", count)
    expect(abs(sumOfCompletions - plan.sumOfCompletions) < 1e-4, "another sum", count)
    let value = plan.value(instance.objective)
    expect(plan.lowerBound < value + Self.tolerance, "better than its bound", count)
  }
}
