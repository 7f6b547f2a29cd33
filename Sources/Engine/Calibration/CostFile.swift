import Scheduling

/// Measured layer costs, kept beside the packed weights that they were measured with.
///
/// Text: a line with the key, then one line per kernel of each layer: batches, units and seconds,
/// by spaces.
enum CostFile {
  /// The costs of each layer's kernels, if they were kept under this key.
  ///
  /// - Parameter kernels: How many kernels each layer has.
  static func read(_ path: String, key: String, kernels: [Int]) -> [[LayerCost]]? {
    guard let bytes = SmallFile.read(path, below: 1 << 26) else { return nil }
    let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n")
    guard lines.count == kernels.reduce(1, +), lines[0] == Substring(name(of: key)) else {
      return nil
    }
    var costs = lines.dropFirst().compactMap(cost)[...]
    guard costs.count == lines.count - 1 else { return nil }
    return kernels.map { count in
      defer { costs.removeFirst(count) }
      return Array(costs.prefix(count))
    }
  }

  /// Keeps costs; that nobody finds them when it fails costs only time.
  static func write(_ costs: [[LayerCost]], _ path: String, key: String) {
    let lines = [name(of: key)] + costs.joined().map(line)
    let bytes = Array((lines.joined(separator: "\n") + "\n").utf8)
    SmallFile.replace(path, with: bytes)
  }

  private static func name(of key: String) -> String { String(XXH64.hash(key), radix: 16) }

  private static func line(_ cost: LayerCost) -> String {
    [cost.batches.map(String.init), cost.units.map(String.init), cost.seconds.map { "\($0)" }]
      .map { $0.joined(separator: ",") }.joined(separator: " ")
  }

  private static func cost(_ line: Substring) -> LayerCost? {
    let fields = line.split(separator: " ").map { $0.split(separator: ",") }
    guard fields.count == 3 else { return nil }
    let (batches, units) = (fields[0].compactMap { Int($0) }, fields[1].compactMap { Int($0) })
    let seconds = fields[2].compactMap { Double($0) }
    guard !batches.isEmpty, !units.isEmpty, seconds.count == batches.count * units.count,
      seconds.allSatisfy({ $0.isFinite && $0 >= 0 })
    else { return nil }
    return LayerCost(batches: batches, units: units, seconds: seconds)
  }
}
