import Scheduling
import Vocabulary

/// What tells one baseline from another.
struct BaselineRules: Sendable {
  /// How many samples travel together.
  enum BatchRule: Sendable {
    /// One request.
    case single
    /// So many requests, or what is there when the first has waited so many seconds.
    case fixed(requests: Int, seconds: Double)
    /// What waits, up to the model's maximum, after its queue delay.
    case dynamic
    /// At most so many samples, by model.
    case atMost([Int])
  }

  /// Who goes next.
  enum Order: Sendable {
    /// First come, first served.
    case arrival
    /// Models in turn.
    case roundRobin
    /// The earliest arrival plus target.
    case target
    /// PREMA's tokens: those that have been slowed down most, of these the shortest.
    case tokens
    /// The newest of a model first, so that it catches up; models by slack.
    case newest
  }

  /// Where a run ends, so that another one may come.
  enum Granularity: Sendable {
    /// At the end of the network.
    case network
    /// After every layer.
    case layer
    /// After equal shares of the layers.
    case stages(Int)
  }

  /// Who gets which compute units.
  enum Units: Sendable {
    /// One run at a time gets all.
    case all
    /// Runs of several models side by side; each unit goes where it saves most time, faults
    /// included.
    case marginal
    /// Partitions: the units of each, and the partition of each model.
    case partitions(units: [Int], ofModel: [Int])
  }

  /// How weights come and go.
  enum Memory: Sendable {
    /// Page faults; what was used longest ago goes.
    case demand
    /// Page faults inside a quota per model, in bytes; own pages used longest ago go.
    case quotas([Int])
    /// Whole models: the one used longest ago goes; layers run as they come in, or after the last.
    case swap(isPipelined: Bool, keepsOthers: Bool)
    /// Layers through two buffers; nothing stays.
    case stream
  }

  var batch = BatchRule.dynamic
  var order = Order.arrival
  var granularity = Granularity.network
  /// The most live batches; of one model there is one at a time, unless late arrivals merge.
  var liveLimit = 1
  var units = Units.all
  var memory = Memory.demand
  /// Late arrivals run ahead and join their model's batch.
  var merges = false
  /// Seconds after which an answer is late, by model.
  var targets: [Double] = []
  /// Samples of one kernel call, by model and layer; empty for the whole batch.
  var layerBatches: [[Int]] = []
}

extension BaselineRules {
  /// Seconds of a whole network in batches of some samples, all resident.
  static func seconds(_ profile: ModelProfile, batch: Int, units: Int) -> Double {
    profile.layers.reduce(0) { $0 + $1.cost.seconds(batch: batch, units: units) }
  }

  /// The target of each model: its own, or five times the time it takes alone.
  static func targets(_ workload: Workload) -> [Double] {
    workload.models.map { model in
      model.profile.target?.inSeconds
        ?? 5 * seconds(model.profile, batch: 1, units: workload.device.units)
    }
  }

  /// The most samples with which a network runs as a whole in some memory, at least 1.
  static func largestBatch(_ profile: ModelProfile, memory: Int) -> Int {
    var best = 1
    for batch in 1...max(profile.maximumBatch, 1) {
      var before = profile.input.bytes
      var need = 0
      for layer in profile.layers {
        let each = before + layer.activations.bytes + layer.scratch.bytes
        need = max(need, batch * each + layer.weights.bytes)
        before = layer.activations.bytes
      }
      if need <= memory { best = batch }
    }
    return best
  }

  /// The most samples, by model, that leave the weights of the largest layer room in all memory.
  static func batchLimits(_ workload: Workload) -> [Int] {
    workload.models.map { largestBatch($0.profile, memory: workload.budget.bytes) }
  }
}
