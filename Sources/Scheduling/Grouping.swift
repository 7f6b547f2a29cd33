/// How many of the waiting requests of one model go together.
///
/// The s-batch problem: with `time(k)` for a group of k, the sum of completion times is
/// `G[n] = min over k of (n + others) * time(k) + G[n - k]`, because everybody who waits, also for
/// other models, waits for the group in front. With a fixed cost per group the groups fall in size
/// (T = 1 + k, ten requests: 4, 3, 2, 1); without one the groups are single; with a large one there
/// is one group. Exact when all are present and all of a group finish together.
enum Grouping {
  /// The size of the first group.
  ///
  /// - Parameters:
  ///   - waiting: Requests that wait for this model.
  ///   - others: Requests that wait for something else, in this model's worth.
  ///   - largest: The most requests of a group.
  ///   - scratch: Reused memory.
  static func first(
    waiting: Int, others: Double, largest: Int, scratch: inout [Double],
    time: (Int) -> Double
  ) -> Int {
    guard waiting > 1, largest > 1 else { return min(waiting, largest) }
    let bound = min(waiting, 4 * largest)
    scratch.removeAll(keepingCapacity: true)
    for size in 0...min(largest, bound) { scratch.append(size == 0 ? 0 : time(size)) }
    let times = scratch.count
    scratch.append(0)
    var first = 1
    for count in 1...bound {
      var best = Double.infinity
      for size in 1...min(largest, count) {
        let sum =
          (Double(count) + others) * scratch[size] + scratch[times + count - size]
        // Of equals the larger group: it leaves more room for what comes.
        if sum <= best { (best, first) = (sum, size) }
      }
      scratch.append(best)
    }
    return first
  }
}
