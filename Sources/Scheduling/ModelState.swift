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
  /// Bytes of weights, whole pages, by layer; then what of them is in memory or on its way.
  var weights: [Int]
  var resident: [Int]
  var inFlight: [Int]
  /// When each layer last ran, for the eviction order of least recent use.
  var lastUse: [Instant]
  var residentBytes = 0
  /// No layer below this one has resident bytes.
  var lowestResident = 0
  /// No layer above this one has resident bytes.
  var highestResident = -1
  /// Bytes of all its weights, whole pages.
  let weightBytes: Int
  /// Seconds that one sample computes; then with page-ins, when nothing is resident.
  var singleSeconds = 0.0
  var lonelySeconds = 0.0
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
    weights = profile.layers.map { ($0.weights.bytes + pageBytes - 1) / pageBytes * pageBytes }
    weightBytes = weights.reduce(0, +)
    resident = Array(repeating: 0, count: profile.layers.count)
    inFlight = resident
    lastUse = Array(repeating: .zero, count: profile.layers.count)
    programs = Array(repeating: nil, count: profile.maximumBatch + 1)
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
