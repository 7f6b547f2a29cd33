import Scheduling

extension PolicyCatalog {
  /// Like MSched (arXiv 2512.24637): the working set of the next task is known and comes in ahead
  /// of it, and what the time line needs last leaves; dynamic batches of whole networks, first
  /// come, first served, one task at a time.
  ///
  /// Built from our own scheduler with all other decisions off.
  static let msched = Entry(
    name: "msched", summary: "working sets ahead of tasks, Belady on the time line", isPlanned: true
  ) { workload in
    var options = options(for: workload)
    options.features = [.prefetch, .belady]
    return Scheduler(options)
  }
}
