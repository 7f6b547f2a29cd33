import Scheduling

/// A plan as tables that a person can read.
struct PlanTable {
  let plan: NetworkPlan
  let instance: Instance

  /// Steps that are shown; a long plan repeats itself.
  private static let stepLimit = 60

  /// The lines.
  var lines: [String] { summary + [""] + segments + layers + [""] + steps }

  private var summary: [String] {
    let value = plan.value(instance.objective)
    let gap = plan.lowerBound > 0 ? 100 * (value / plan.lowerBound - 1) : 0
    let verdict =
      plan.isProvenOptimal
      ? "no plan is better (searched exhaustively)"
      : "at most \(number(gap, 2)) % above the best possible"
    let goal = instance.objective == .makespan ? "makespan" : "sum of completions"
    let weights = instance.layers.enumerated().reduce(0.0) { sum, item in
      sum + item.element.kernels[plan.kernels[item.offset]].weights
    }
    return [
      "\(instance.samples) samples through \(instance.layers.count) layers, "
        + "\(number(weights)) MB of weights in \(number(instance.memory)) MB of memory",
      "makespan \(number(plan.makespan)) ms, sum of completions "
        + "\(number(plan.sumOfCompletions)) ms, mean "
        + "\(number(plan.sumOfCompletions / Double(instance.samples))) ms",
      "lower bound of the \(goal) \(number(plan.lowerBound)) ms: \(verdict)",
      "\(number(plan.transferred)) MB paged in, \(number(plan.stalled)) ms stalled, "
        + "\(plan.steps.count) steps",
    ]
  }

  /// What each segment does, all its chunks together; nothing for plans that follow no loop nest.
  private var segments: [String] {
    let ranges = Array(Set(plan.groups.flatMap { $0.segments.map(\.layers) }))
      .sorted { ($0.lowerBound, $0.upperBound) < ($1.lowerBound, $1.upperBound) }
    // Groups may cut the network in different places; then a step belongs to no one segment.
    let isPartition = zip(ranges, ranges.dropFirst()).allSatisfy { $0.upperBound == $1.lowerBound }
    guard !ranges.isEmpty, isPartition else { return [] }
    var rows = [
      [
        "segment", "layers", "chunk", "steps", "weights MB", "paged in MB", "evicted MB", "busy ms",
      ]
    ]
    for (index, range) in ranges.enumerated() {
      let steps = plan.steps.filter { range.contains($0.layer) }
      let chunks = plan.groups.flatMap(\.segments).filter { $0.layers == range }.map(\.chunk)
      let weights = range.reduce(0.0) { $0 + instance.layers[$1].kernels[plan.kernels[$1]].weights }
      // A transfer or an eviction counts where its layer is, whenever it happens.
      let paged = plan.steps.flatMap(\.transfers).filter { range.contains($0.layer) }
      let evicted = plan.steps.flatMap(\.drops).filter { range.contains($0.layer) }
      rows.append([
        "\(index)", "\(range.lowerBound)-\(range.upperBound - 1)", Self.compressed(chunks),
        "\(steps.count)", number(weights), number(paged.reduce(0) { $0 + $1.megabytes }),
        number(evicted.reduce(0) { $0 + $1.megabytes }),
        number(steps.reduce(0) { $0 + $1.end - $1.start }),
      ])
    }
    return Self.aligned(rows, left: []) + [""]
  }

  private var layers: [String] {
    var rows = [["layer", "name", "weights MB", "batch", "chunk", "kernel", "tiles", "pinned MB"]]
    for (index, layer) in instance.layers.enumerated() {
      let chunks = plan.groups.compactMap { group in
        group.segments.first { $0.layers.contains(index) }?.chunk
      }
      let tiles = plan.steps.first { $0.layer == index }?.tile?.count ?? 1
      rows.append([
        "\(index)", layer.name, number(layer.kernels[plan.kernels[index]].weights),
        "\(plan.layerBatches[index])",
        chunks.isEmpty ? "-" : Self.compressed(chunks), "\(plan.kernels[index])", "\(tiles)",
        number(plan.pinned[index]),
      ])
    }
    return Self.aligned(rows, left: [1])
  }

  private var steps: [String] {
    var rows = [
      [
        "start ms", "end ms", "layer", "samples", "weights MB", "activations MB", "evict",
        "page in",
      ]
    ]
    for step in plan.steps.prefix(Self.stepLimit) {
      let tile = step.tile.map { " tile \($0.index + 1)/\($0.count)" } ?? ""
      rows.append([
        number(step.start), number(step.end), "\(step.layer)\(tile)", "\(step.samples)",
        number(step.weights), number(step.activations),
        step.drops.map { "\($0.layer): \(number($0.megabytes))" }.joined(separator: ", "),
        step.transfers.map {
          "\($0.layer): \(number($0.megabytes)) (\(number($0.start))-\(number($0.end)))"
        }.joined(separator: ", "),
      ])
    }
    let rest = plan.steps.count - Self.stepLimit
    let more = rest > 0 ? ["… and \(rest) more steps; --format json prints them all"] : []
    return Self.aligned(rows, left: [6, 7]) + more
  }

  private func number(_ value: Double, _ places: Int = 3) -> String {
    Decimals.text(value, places: places)
  }

  /// Chunks of the groups: "4", or "4+2" when groups differ.
  private static func compressed(_ chunks: [Int]) -> String {
    chunks.allSatisfy { $0 == chunks[0] }
      ? "\(chunks[0])" : chunks.map(String.init).joined(separator: "+")
  }

  /// Columns of equal width: numbers to the right, `left` ones to the left.
  static func aligned(_ rows: [[String]], left: Set<Int>) -> [String] {
    guard let columns = rows.first?.count else { return [] }
    let widths = (0..<columns).map { column in rows.map { $0[column].count }.max() ?? 0 }
    return rows.map { row in
      var line = ""
      for (column, cell) in row.enumerated() {
        let blank = String(repeating: " ", count: widths[column] - cell.count)
        line += (column > 0 ? "  " : "") + (left.contains(column) ? cell + blank : blank + cell)
      }
      while line.hasSuffix(" ") { line.removeLast() }
      return line
    }
  }
}
