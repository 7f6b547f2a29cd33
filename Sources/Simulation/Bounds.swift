import Scheduling
import Vocabulary

/// What no policy can undercut; a report's gap is its value over the largest of these.
enum Bounds {
  /// The least seconds of computing for one sample of a network, in whatever batches.
  static func sampleSeconds(_ profile: ModelProfile, units: Int) -> Double {
    profile.layers.reduce(0) { sum, layer in
      let best = (1...max(profile.maximumBatch, 1)).map {
        layer.cost.seconds(batch: $0, units: units) / Double($0)
      }
      return sum + (best.min() ?? 0)
    }
  }

  /// Seconds of one sample alone, all resident.
  private static func alone(_ profile: ModelProfile, units: Int) -> Double {
    profile.layers.reduce(0) { $0 + $1.cost.seconds(batch: 1, units: units) }
  }

  /// Lower bounds of makespan and mean latency in seconds, from work and from the link.
  ///
  /// Work: every sample takes at least its share of the best batch on all units; the mean is that
  /// of the shortest-first order of these shares with release dates ignored, and no less than the
  /// mean time alone. Link: the weights of every model that is asked come in at least once, as
  /// nothing is resident at first; its first request waits for them and for the last layer.
  static func seconds(_ workload: Workload) -> (makespan: Double, mean: Double) {
    let requests = workload.requests()
    guard let first = requests.first, let last = requests.last else { return (0, 0) }
    let units = workload.device.units
    let work = workload.models.map { sampleSeconds($0.profile, units: units) }
    let single = workload.models.map { alone($0.profile, units: units) }
    var total = 0.0
    var asked = workload.models.map { _ in false }
    for (_, request) in requests {
      total += work[request.model.index] * Double(request.samples)
      asked[request.model.index] = true
    }
    var io = 0.0
    for (index, model) in workload.models.enumerated() where asked[index] {
      io += workload.device.pageInSeconds(model.profile.weights.bytes)
    }
    let lastAlone = (last.at - first.at) + single[last.request.model.index]
    let isBurst = last.at == first.at
    let lone = requests.reduce(0) { $0 + single[$1.request.model.index] } / Double(requests.count)
    let mean = isBurst ? max(burstMean(workload, requests, work), lone) : lone
    return (max(total, io, lastAlone), mean)
  }

  /// All present at once: shortest work first, and the cheapest weights per request first.
  private static func burstMean(
    _ workload: Workload, _ requests: [(at: Double, request: QueuedRequest)], _ work: [Double]
  ) -> Double {
    let shares = requests.map { work[$0.request.model.index] * Double($0.request.samples) }.sorted()
    var (clock, byWork) = (0.0, 0.0)
    for share in shares {
      clock += share
      byWork += clock
    }
    let counts = workload.models.indices.map { index in
      requests.filter { $0.request.model.index == index }.count
    }
    let transfers = workload.models.enumerated().filter { counts[$0.offset] > 0 }.map {
      (
        seconds: workload.device.pageInSeconds($0.element.profile.weights.bytes),
        count: Double(counts[$0.offset])
      )
    }.sorted { $0.seconds / $0.count < $1.seconds / $1.count }
    var (link, byLink) = (0.0, 0.0)
    for transfer in transfers {
      link += transfer.seconds
      byLink += link * transfer.count
    }
    return max(byWork, byLink) / Double(requests.count)
  }
}
