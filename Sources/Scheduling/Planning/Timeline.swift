/// What is resident when and what the link carries when, for a given order of steps.
///
/// The order fixes what activations take in every step; the rest of the memory is room for weights.
/// For each step in turn, as much of its layer as fits stays from the layer's previous step,
/// nearest next use first: with pages of one size this is Belady's rule ("A study of replacement
/// algorithms for a virtual-storage computer", 1966). What does not stay is paged in as soon as the
/// link is free and the room until its use suffices.
struct Timeline {
  /// One transfer of the plan.
  struct Load {
    var layer: Int
    var megabytes: Double
    /// The step during which it begins, or right before which.
    var step: Int
    /// The step that it is for.
    var use: Int
    var start: Double
    var end: Double
  }

  let visits: [Visit]
  private(set) var start: [Double] = []
  private(set) var end: [Double] = []
  private(set) var loads: [Load] = []
  /// Megabytes of each step's layer that stayed since the layer's previous step.
  private(set) var kept: [Double] = []
  /// The previous step of the same layer, or -1.
  private(set) var previous: [Int] = []
  /// What weights may take in each step.
  private(set) var room: [Double] = []
  private(set) var sumOfCompletions = 0.0

  /// Room beside the step's own layer that nothing is planned for yet.
  private var slack: [Double] = []
  private var linkFree = 0.0

  var makespan: Double { end.last ?? 0 }

  func value(_ objective: Instance.Objective) -> Double {
    objective == .makespan ? makespan : sumOfCompletions
  }

  /// - Parameters:
  ///   - chain: The layers.
  ///   - visits: The steps; every sample passes every layer in order.
  ///   - window: How many steps ahead of its use a transfer may begin.
  /// - Returns: nil when a step does not fit.
  init?(_ chain: Chain, _ visits: [Visit], window: Int = .max) {
    self.visits = visits
    guard measureRoom(chain) else { return nil }
    let count = visits.count
    start.reserveCapacity(count)
    end.reserveCapacity(count)
    kept.reserveCapacity(count)
    previous.reserveCapacity(count)
    var last = Array(repeating: -1, count: chain.count)
    for use in 0..<count {
      let visit = visits[use]
      previous.append(last[visit.layer])
      let stays = keep(chain, use)
      kept.append(stays)
      var ready = use > 0 ? end[use - 1] : 0
      let missing = chain.weights[visit.layer] - stays
      if missing > Chain.tolerance {
        ready = max(ready, load(chain, missing, use, window: window))
      }
      start.append(ready)
      end.append(ready + chain.time(visit.layer, visit.samples))
      last[visit.layer] = use
      if visit.layer == chain.count - 1 {
        sumOfCompletions += Double(visit.samples) * end[use]
      }
    }
  }

  private mutating func measureRoom(_ chain: Chain) -> Bool {
    var held = 0.0
    room.reserveCapacity(visits.count)
    slack.reserveCapacity(visits.count)
    for visit in visits {
      let batch = Double(visit.samples)
      let added = batch * chain.added[visit.layer]
      let free = chain.memory - held - added - chain.scratch[visit.layer]
      room.append(free)
      slack.append(free - chain.weights[visit.layer])
      if slack[slack.count - 1] < -Chain.tolerance { return false }
      held += batch * (chain.held[visit.layer + 1] - chain.held[visit.layer])
    }
    return true
  }

  /// Keeps what fits of a step's layer since its previous step.
  private mutating func keep(_ chain: Chain, _ use: Int) -> Double {
    let before = previous[use]
    guard before >= 0 else { return 0 }
    let weights = chain.weights[visits[use].layer]
    var stays = weights
    for step in stride(from: before + 1, to: use, by: 1) {
      stays = min(stays, whole(chain, slack[step], of: weights))
      if stays <= 0 { return 0 }
    }
    for step in stride(from: before + 1, to: use, by: 1) { slack[step] -= stays }
    return stays
  }

  /// What of a layer can come or stay where there is some room: all, whole pages, or nothing.
  private func whole(_ chain: Chain, _ room: Double, of weights: Double) -> Double {
    if room >= weights - Chain.tolerance { return weights }
    guard let page = chain.page, room >= page else { return 0 }
    return (room / page + Chain.tolerance).rounded(.down) * page
  }

  /// Plans the transfers for a step; returns when the last one ends.
  private mutating func load(
    _ chain: Chain, _ missing: Double, _ use: Int, window: Int
  ) -> Double {
    var left = missing
    if chain.prefetch {
      // Room only shrinks on the way back from the use, so the first step that has some is found
      // so.
      var first = use
      let earliest = max(previous[use] + 1, window == .max ? 0 : use - window)
      var least = Double.infinity
      while first > earliest, end[first - 1] > linkFree {
        least = min(least, slack[first - 1])
        guard whole(chain, least, of: missing) > 0 else { break }
        first -= 1
      }
      for step in first..<use where left > Chain.tolerance {
        guard end[step] > linkFree else { continue }
        let fits = slack[step..<use].min() ?? 0
        let amount = min(whole(chain, fits, of: left), left)
        if amount > 0 { left -= transfer(chain, amount, at: step, for: use) }
      }
    }
    if left > Chain.tolerance { _ = transfer(chain, left, at: use, for: use) }
    return linkFree
  }

  private mutating func transfer(
    _ chain: Chain, _ megabytes: Double, at step: Int, for use: Int
  ) -> Double {
    let begin = max(linkFree, step > 0 ? end[step - 1] : 0)
    linkFree = begin + chain.transfer(megabytes)
    for between in step..<use { slack[between] -= megabytes }
    loads.append(
      Load(
        layer: visits[use].layer, megabytes: megabytes, step: step, use: use, start: begin,
        end: linkFree))
    return megabytes
  }
}
