public import Vocabulary

/// What a scheduler decides with: the device, its limits, and which decisions it makes.
public struct SchedulerOptions: Sendable {
  /// Decisions that can be switched off, one at a time, to see what each is worth.
  public struct Features: OptionSet, Sendable {
    /// One bit per decision.
    public let rawValue: Int

    /// Wraps the bits.
    public init(rawValue: Int) { self.rawValue = rawValue }

    /// Brings weights in before a run needs them, also for the next model.
    public static let prefetch = Features(rawValue: 1 << 0)
    /// Evicts what is used farthest in the future, instead of what was used longest ago.
    public static let belady = Features(rawValue: 1 << 1)
    /// Gives each layer its own batch, instead of one for the whole network.
    public static let layerBatches = Features(rawValue: 1 << 2)
    /// Sends as many waiting requests together as is best, instead of as many as may.
    public static let groups = Features(rawValue: 1 << 3)
    /// Orders models by gain per time, instead of by arrival.
    public static let order = Features(rawValue: 1 << 4)
    /// Runs jobs side by side where that is better than one after another.
    public static let unitSplit = Features(rawValue: 1 << 5)
    /// Lets late arrivals catch up with a batch and join it.
    public static let merge = Features(rawValue: 1 << 6)
    /// Lets a better batch overtake one that has begun, at a border of segments.
    public static let preemption = Features(rawValue: 1 << 7)
    /// Chooses between the kernels of a layer, instead of always taking the first.
    public static let kernels = Features(rawValue: 1 << 8)

    /// Every decision.
    public static let all: Features = [
      .prefetch, .belady, .layerBatches, .groups, .order, .unitSplit, .merge, .preemption,
      .kernels,
    ]
  }

  /// Compute units that runs may share out.
  public var units: Int
  /// The most runs at a time.
  public var executors: Int
  /// Memory for weights, activations and scratch; nil when all models stay resident unasked.
  public var budget: ByteCount?
  /// Weights come and go in pages of this size.
  public var pageBytes: ByteCount
  /// Layers of at least this size go in multiples of it: the memory that a device moves at once.
  public var frameBytes: ByteCount
  /// The most bytes of one page-in, so that a more urgent one never waits long.
  public var transferBytes: ByteCount
  /// Page-ins that together are no larger than this are all handed out at once, for a device that
  /// carries them out together; beyond it one is carried out while one waits.
  public var gatheredBytes: ByteCount
  /// Bytes per second of page-ins, until they are measured.
  public var linkRate: Double
  /// Time of a page-in before its first byte, until it is measured.
  public var linkLatency: Duration
  /// While weights stream in, runs are made at least this long, so that handing them out is cheap.
  public var minimumRun: Duration
  /// A run ends at the first border after this long, so that something better can overtake it.
  public var maximumRun: Duration
  /// A request that has waited this long goes before all of its priority that have not, and nothing
  /// new begins before it; Documentation/Scheduling.md says how long it can still take.
  public var starvationBound: Duration
  /// How much slower runs are beside another one, until it is measured: 0.05 for 5 %.
  public var interference: Double
  /// Which decisions are made.
  public var features: Features

  /// What a scheduler decides with.
  public init(
    units: Int, executors: Int = 1, budget: ByteCount? = nil,
    pageBytes: ByteCount = ByteCount(64 << 10), frameBytes: ByteCount = .zero,
    transferBytes: ByteCount = .mebibytes(16), gatheredBytes: ByteCount = .zero,
    linkRate: Double = 2e9, linkLatency: Duration = .microseconds(30),
    minimumRun: Duration = .microseconds(500), maximumRun: Duration = .milliseconds(20),
    starvationBound: Duration = .seconds(5),
    interference: Double = 0.05, features: Features = .all
  ) {
    self.units = units
    self.executors = executors
    self.budget = budget
    self.pageBytes = pageBytes
    self.frameBytes = frameBytes
    self.transferBytes = transferBytes
    self.gatheredBytes = gatheredBytes
    self.linkRate = linkRate
    self.linkLatency = linkLatency
    self.minimumRun = minimumRun
    self.maximumRun = maximumRun
    self.starvationBound = starvationBound
    self.interference = interference
    self.features = features
  }
}
