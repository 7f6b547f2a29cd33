public import Vocabulary

/// Decides what runs next, on how many units, and which weights are in memory when.
///
/// A value without clock, threads or randomness: the same events at the same moments give the same
/// plans, in the server as in the simulator. Documentation/Scheduling.md tells how it decides.
///
/// ```
/// arrived ─▶ queue ─▶ group ─▶ live batch ─▶ runs, segment by segment ─▶ answers
///                                   ▲            │ needs its layers resident
///                      late arrivals┘            ▼
///                                  agenda ─▶ page-ins, evictions (farthest next use first)
/// ```
public struct Scheduler: Policy {
  /// A run that was handed out.
  struct Running: Sendable {
    var run: RunID
    var batch: BatchID
    var layers: Range<Int>
    var samples: Int
    var units: Int
    var started: Instant
    /// Seconds it should take.
    var predicted: Double
    /// Whether another run was under way at some time of it.
    var wasBeside: Bool
  }

  /// A page-in that was handed out.
  struct Transfer: Sendable {
    var id: PageInID
    var model: Int
    var kernel: Int
    /// Where in the kernel's weights its bytes begin.
    var begin: Int
    var bytes: Int
  }

  /// What it decides with.
  public let options: SchedulerOptions
  /// Models by the index of their identifier.
  var models: [ModelState] = []
  var summaries: [ModelState.Summary] = []
  var ranks: [Rank] = []
  /// Models whose queues are not empty, ascending.
  var waiting: [Int] = []
  /// No request that waits has an earlier deadline; it may lie before the earliest one.
  var earliestDeadline = Instant.distantFuture
  /// Batches that were formed and are not over, in order of their formation.
  var batches: [LiveBatch] = []
  var running: [Running] = []
  var transfers: [Transfer] = []
  var places: [RequestID: ModelID] = [:]
  var link: LinkModel
  var budget: Int?
  var residentBytes = 0
  var inFlightBytes = 0
  var reservedBytes = 0
  var freeUnits: Int
  /// How much slower runs are beside another one.
  var interference: Double
  var agenda = Agenda()
  /// Seconds between arrivals of all models, smoothed.
  var meanGap = 0.0
  var lastArrival: Instant?
  let starvationNanoseconds: Int64
  var nextBatch: UInt64 = 0
  var nextRun: UInt64 = 0
  var nextPageIn: UInt64 = 0
  /// Kept between steps so that a step in the steady state allocates nothing for it.
  var taken: [RequestQueue.Entry] = []
  var spareMembers: [[LiveBatch.Member]] = []
  var spareCohorts: [[LiveBatch.Cohort]] = []
  var groupScratch: [Double] = []
  var distances: [Double] = []
  /// What could not begin in this step although its weights are there.
  var refused: [Candidate.Source] = []

  /// A scheduler without models.
  public init(_ options: SchedulerOptions) {
    self.options = options
    link = LinkModel(bytesPerSecond: options.linkRate, latency: options.linkLatency)
    budget = options.budget?.bytes
    freeUnits = options.units
    interference = options.interference
    starvationNanoseconds = options.starvationBound.wholeNanoseconds
  }

  /// Takes note of what happened and says what to do next.
  public mutating func step(_ event: Event, at now: Instant, into plan: inout Plan) {
    plan.removeAll()
    note(event, at: now, &plan)
    evictBeyondBudget(&plan)
    rejectLate(at: now, &plan)
    startRuns(at: now, &plan)
    while giveWay(&plan) { startRuns(at: now, &plan) }
    feedLink(at: now, &plan)
    plan.weights = residentWeights
    plan.wakeAt = nextMoment(after: now)
  }

  /// Requests that wait for a model.
  public func queuedRequests(_ model: ModelID) -> Int {
    models.indices.contains(model.index) ? models[model.index].queue.count : 0
  }

  /// Bytes of weights that are in memory or on their way there.
  public var residentWeights: ByteCount { ByteCount(residentBytes + inFlightBytes) }

  /// Bytes of activations and scratch that are set aside for live batches.
  public var reservedActivations: ByteCount { ByteCount(reservedBytes) }

  private mutating func note(_ event: Event, at now: Instant, _ plan: inout Plan) {
    switch event {
    case .modelAdded(let id, let profile): add(id, profile)
    case .modelRemoved(let id): remove(id, &plan)
    case .arrived(let request): admit(request, at: now, &plan)
    case .cancelled(let id): cancel(id, &plan)
    case .runFinished(let id, let took): finish(id, took: took, at: now, &plan)
    case .runFailed(let id): fail(id, &plan)
    case .pagedIn(let id, let took): land(id, took: took, at: now, &plan)
    case .pageInFailed(let id): miss(id, &plan)
    case .budgetChanged(let bytes): changeBudget(to: bytes.bytes, &plan)
    case .tick: break
    }
  }
}
