public import Scheduling
public import Vocabulary

/// What a simulation plays: models with their arrivals, on a device with too little memory.
public struct Workload: Sendable {
  /// A model with its arrivals.
  public struct Model: Sendable {
    /// The name in reports.
    public var name: String
    /// What policies are told of it.
    public var profile: ModelProfile
    /// When its requests come.
    public var arrivals: Arrivals

    /// A model with its arrivals.
    public init(name: String, profile: ModelProfile, arrivals: Arrivals) {
      self.name = name
      self.profile = profile
      self.arrivals = arrivals
    }
  }

  /// Trouble that comes by chance or at a moment.
  public struct Faults: Sendable, Codable {
    /// The chance that a run fails.
    public var runFailure: Double = 0
    /// The chance that a page-in fails.
    public var pageInFailure: Double = 0
    /// The chance that a request is cancelled some time after it came.
    public var cancellation: Double = 0
    /// Factors on the link's speed, one per second of the simulation, round and round.
    public var linkSpeed: [Double] = []
    /// Shares of the budget, one per second of the simulation, round and round.
    public var budgetShares: [Double] = []
    /// Whether the first model is removed in the middle of the simulation.
    public var removesModel = false

    /// No trouble.
    public init() {}
  }

  /// The device.
  public var device: DeviceProfile
  /// Memory for weights, activations and scratch.
  public var budget: ByteCount
  /// The models.
  public var models: [Model]
  /// Seconds in which requests come.
  public var seconds: Double
  /// What makes chance repeatable.
  public var seed: UInt64
  /// How much single layer times differ from the table: 0.05 for up to 5 % either way.
  public var noise: Double
  /// Trouble.
  public var faults: Faults
  /// Who has waited this long goes first, under policies that promise it.
  public var starvationBound: Duration

  /// What a simulation plays.
  public init(
    device: DeviceProfile, budget: ByteCount, models: [Model], seconds: Double, seed: UInt64,
    noise: Double = 0, faults: Faults = Faults(), starvationBound: Duration = .seconds(5)
  ) {
    self.device = device
    self.budget = budget
    self.models = models
    self.seconds = seconds
    self.seed = seed
    self.noise = noise
    self.faults = faults
    self.starvationBound = starvationBound
  }

  /// Weights of all models together.
  public var weights: ByteCount {
    models.reduce(into: .zero) { $0 += $1.profile.weights }
  }

  /// Every request with the moment it comes, in order.
  func requests() -> [(at: Double, request: QueuedRequest)] {
    var all: [(at: Double, request: QueuedRequest)] = []
    for (index, model) in models.enumerated() {
      var random = RandomSource(seed: seed &* 1_000_003 &+ UInt64(index))
      for moment in model.arrivals.moments(until: seconds, random: &random) {
        let choices = model.arrivals.samples ?? [1]
        let samples = choices[random.below(choices.count)]
        let deadline = model.arrivals.deadlineMilliseconds.map {
          Instant(nanoseconds: Int64((moment * 1e3 + $0) * 1e6))
        }
        all.append(
          (
            moment,
            QueuedRequest(
              id: RequestID(0), model: ModelID(Int32(index)), samples: max(samples, 1),
              deadline: deadline)
          ))
      }
    }
    all.sort { ($0.at, $0.request.model) < ($1.at, $1.request.model) }
    for index in all.indices { all[index].request.id = RequestID(UInt64(index)) }
    return all
  }
}
