public import Scheduling
import Vocabulary

/// Every policy by name, ready for a workload.
public enum PolicyCatalog {
  /// A policy with what a simulation needs to know of it.
  public struct Entry: Sendable {
    /// The name in reports and on the command line.
    public var name: String
    /// One line on what it does and where it comes from.
    public var summary: String
    /// Whether it plans its memory: then faults and overruns are violations.
    public var isPlanned: Bool
    /// Whether nobody waits beyond the workload's bound and what was there before: then it is
    /// checked.
    public var boundsWaiting = false
    /// Makes the policy for a workload; throws a sentence when it cannot play it.
    public var make: @Sendable (Workload) throws -> any Policy
  }

  /// Ours.
  public static let stowage = Entry(
    name: "stowage", summary: "per-layer batches, planned page-ins, Smith order", isPlanned: true,
    boundsWaiting: true
  ) { Scheduler(options(for: $0)) }

  /// Ours with one decision switched off each.
  public static let ablations: [Entry] = [
    ablation("no-prefetch", without: .prefetch), ablation("no-belady", without: .belady),
    ablation("no-layer-batches", without: .layerBatches), ablation("no-groups", without: .groups),
    ablation("no-order", without: .order), sideBySide,
    ablation("no-merge", without: .merge), ablation("no-preemption", without: .preemption),
    ablation("no-kernels", without: .kernels),
  ]

  /// Every policy.
  public static var all: [Entry] { [stowage] + baselines + [oracle] + ablations }

  /// What a workload is compared under when nothing else is asked for; all can play any.
  public static var standard: [Entry] { [stowage] + baselines }

  /// The policy of a name.
  public static func entry(named name: String) -> Entry? { all.first { $0.name == name } }

  private static func ablation(
    _ name: String, without feature: SchedulerOptions.Features
  ) -> Entry {
    Entry(
      name: "stowage-" + name, summary: "ours without one decision", isPlanned: true,
      boundsWaiting: feature != .order
    ) {
      var options = options(for: $0)
      options.features.subtract(feature)
      return Scheduler(options)
    }
  }

  /// Ours with two executors, so that the unit dispatcher can put batches side by side.
  private static let sideBySide = Entry(
    name: "stowage-side-by-side", summary: "ours with runs of two batches at a time",
    isPlanned: true, boundsWaiting: true
  ) {
    var options = options(for: $0)
    options.executors = min(options.units, 2)
    return Scheduler(options)
  }

  /// The options of our scheduler for a workload.
  static func options(for workload: Workload) -> SchedulerOptions {
    let device = workload.device
    return SchedulerOptions(
      units: device.units, executors: 1, budget: workload.budget,
      pageBytes: device.page, linkRate: device.link.gigabytesPerSecond * 1e9,
      linkLatency: .nanoseconds(Int64(device.link.latencyMicroseconds * 1e3)),
      starvationBound: workload.starvationBound, interference: device.interference)
  }
}
