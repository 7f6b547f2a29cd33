/// Several policies on one workload, side by side.
public enum Comparison {
  /// Plays a workload under a policy, and sets the result against the bounds.
  ///
  /// - Throws: A sentence when the policy cannot play it.
  public static func report(
    _ workload: Workload, under entry: PolicyCatalog.Entry
  ) throws -> Report {
    var simulator = try Simulator(workload, under: entry)
    var report = simulator.run()
    let bounds = Bounds.seconds(workload)
    if bounds.mean > 0 { report.meanOverBound = report.mean / 1e3 / bounds.mean }
    if bounds.makespan > 0 { report.makespanOverBound = report.makespan / 1e3 / bounds.makespan }
    return report
  }

  private static let columns: [(String, @Sendable (Report) -> String)] = [
    ("policy", { $0.policy }), ("mean_ms", { number($0.mean) }), ("p50_ms", { number($0.p50) }),
    ("p95_ms", { number($0.p95) }), ("p99_ms", { number($0.p99) }),
    ("answers_per_s", { number($0.throughput) }), ("answered", { "\($0.answered)" }),
    ("rejected", { "\($0.rejected)" }), ("moved_mb", { number($0.movedMegabytes) }),
    ("fault_batches", { "\($0.faultBatches)" }), ("stall_share", { number($0.stallShare) }),
    ("mean_batch", { number($0.meanBatch) }), ("peak_mb", { number($0.peakMegabytes) }),
    ("makespan_ms", { number($0.makespan) }), ("mean_over_bound", { number($0.meanOverBound) }),
    ("makespan_over_bound", { number($0.makespanOverBound) }),
    ("violations", { "\($0.violations.count)" }),
  ]

  /// One line per policy, columns by comma.
  public static func csv(_ reports: [Report]) -> String {
    let rows = [columns.map(\.0)] + reports.map { report in columns.map { $0.1(report) } }
    return rows.map { $0.joined(separator: ",") }.joined(separator: "\n")
  }

  /// A table for people.
  public static func table(_ reports: [Report]) -> String {
    let rows = [columns.map(\.0)] + reports.map { report in columns.map { $0.1(report) } }
    let widths = columns.indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    return rows.map { row in
      row.indices.map { column in
        let gap = String(repeating: " ", count: widths[column] - row[column].count)
        return column == 0 ? row[column] + gap : gap + row[column]
      }.joined(separator: "  ")
    }.joined(separator: "\n")
  }

  /// Three digits or more, without a formatter: 0.123, 12.3, 1234.
  private static func number(_ value: Double) -> String {
    let decimals = value >= 1000 ? 0 : value >= 100 ? 1 : value >= 10 ? 2 : 3
    var scale = 1.0
    for _ in 0..<decimals { scale *= 10 }
    let scaled = (value * scale).rounded()
    guard decimals > 0 else { return "\(Int(scaled))" }
    let whole = Int(scaled / scale)
    var digits = "\(Int(scaled) - whole * Int(scale))"
    while digits.count < decimals { digits = "0" + digits }
    return "\(whole).\(digits)"
  }
}
