import Vocabulary

/// A model with what waits for it and what of it is resident.
struct ModelState: Sendable {
  /// What the choice of the next batch needs to know, kept beside one another for speed.
  struct Summary: Sendable {
    /// Requests and samples of the batch that would be formed now.
    var requests = 0
    var samples = 0
    /// Why it should be formed, unless it had better wait for company.
    var isFull = false
    var priority = 0
    var oldest = Instant.distantFuture
    var earliestDeadline = Instant.distantFuture
    /// When it stops waiting for company.
    var ripe = Instant.zero
    /// Seconds of computing, and bytes to page in before and during it.
    var seconds = 0.0
    var missing = 0
    var worth = 0.0
    /// Worth per second until the answers.
    var gain = 0.0
    /// Whether its first layer is resident.
    var canBegin = true
  }

  var exists = false
  /// Whether the model goes away when its last batch is over.
  var isLeaving = false
  var profile: ModelProfile
  var costs: CostModel
  var queue = RequestQueue()
  /// Programs by samples; nil where not made yet.
  var programs: [BatchProgram?] = []
  /// The most samples that fit into memory together; 0 when not even one does.
  var largestBatch: Int
  let kernels: KernelTable
  /// The kernels that it keeps to, by layer.
  var settled: [Int]
  /// Samples of a batch, smoothed over batches.
  private(set) var typicalBatch = 1.0
  /// What that was when kernels were chosen last; 0 before.
  var settledBatch = 0.0
  /// How many batches there were, those of long ago counting less.
  var batchShare = 1.0
  /// Bytes of weights that are in memory, and on their way, by kernel.
  var resident: [Int]
  var inFlight: [Int]
  /// When each kernel last ran, for the eviction order of least recent use.
  var lastUse: [Instant]
  var residentBytes = 0
  /// No kernel below this one has resident bytes.
  var lowestResident = 0
  /// No kernel above this one has resident bytes.
  var highestResident = -1
  /// Bytes of the weights of one kernel a layer, whole pages.
  let weightBytes: Int
  /// Seconds that one sample computes; then with page-ins, when nothing is resident.
  var singleSeconds = 0.0
  var lonelySeconds = 0.0
  /// Samples of the batch that would be formed now.
  var upcoming = 0
  /// Live batches of the model.
  var live = 0
  /// Requests per second, smoothed over arrivals.
  var arrivalRate = 0.0
  var lastArrival: Instant?
  var habit = ReturnHabit()

  init(_ profile: ModelProfile, pageBytes: Int) {
    self.profile = profile
    costs = CostModel(profile.layers)
    largestBatch = profile.maximumBatch
    let kernels = KernelTable(profile, pageBytes: pageBytes)
    self.kernels = kernels
    settled = kernels.defaults
    weightBytes = kernels.defaults.reduce(0) { $0 + kernels.weights[$1] }
    resident = Array(repeating: 0, count: kernels.all.count)
    inFlight = resident
    lastUse = Array(repeating: .zero, count: kernels.all.count)
    programs = Array(repeating: nil, count: profile.maximumBatch + 1)
  }

  /// Bytes of the weights of some kernels that are not in memory.
  func missingBytes(of some: ArraySlice<Int>) -> Int {
    var missing = 0
    for kernel in some { missing += kernels.weights[kernel] - resident[kernel] }
    return missing
  }

  /// The kernels, by layer, of the batch that would be formed now, as far as is known.
  var upcomingKernels: [Int] { upcomingProgram?.kernels ?? settled }

  /// The program of the batch that would be formed now, if it has been made.
  private var upcomingProgram: BatchProgram? {
    kernels.isSingle || !programs.indices.contains(upcoming) ? nil : programs[upcoming]
  }

  /// Drops the programs, so that they are made anew.
  mutating func forgetPrograms() {
    for samples in programs.indices { programs[samples] = nil }
  }

  mutating func noteBatch(samples: Int) {
    typicalBatch += (Double(samples) - typicalBatch) * 0.2
  }

  mutating func noteArrival(at now: Instant) {
    if let lastArrival {
      let gap = max(now.seconds(since: lastArrival), 1e-6)
      // An average of gaps, not of rates: a burst must not look like a flood.
      let mean = arrivalRate > 0 ? 1 / arrivalRate : gap
      arrivalRate = 1 / (mean + (gap - mean) * 0.1)
    }
    lastArrival = now
    habit.arrived(at: now)
  }
}
