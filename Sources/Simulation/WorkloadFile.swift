import Scheduling
import Vocabulary

/// A workload as it stands in a JSON file; networks and devices stand in files of their own or
/// inline.
public struct WorkloadFile: Sendable, Codable {
  /// A model of the file.
  public struct Model: Sendable, Codable {
    /// The name in reports.
    public var name: String
    /// The network's file, relative to the workload's.
    public var network: String?
    /// The network itself.
    public var layers: NetworkProfile?
    /// How many equal models of it there are, each with arrivals of its own; 1 when absent.
    public var copies: Int?
    /// The most samples of one batch.
    public var maximumBatch: Int?
    /// The most requests that may wait.
    public var queueLimit: Int?
    /// Milliseconds that the first request of a batch may wait for company.
    public var delayMilliseconds: Double?
    /// How much an answer is worth.
    public var weight: Double?
    /// Milliseconds after which an answer is late, for policies that plan for a target.
    public var targetMilliseconds: Double?
    /// When its requests come.
    public var arrivals: Arrivals
    /// A trace to read arrivals from, relative to the workload's file: CSV whose first column is
    /// seconds.
    public var trace: String?

    enum CodingKeys: String, CodingKey {
      case name, network, layers, copies, weight, arrivals, trace
      case maximumBatch = "maximum_batch"
      case queueLimit = "queue_limit"
      case delayMilliseconds = "delay_ms"
      case targetMilliseconds = "target_ms"
    }
  }

  /// The device's file, relative to the workload's.
  public var device: String?
  /// The device itself.
  public var deviceProfile: DeviceProfile?
  /// Compute units, when not those of the device.
  public var units: Int?
  /// Megabytes (10^6) of memory.
  public var memoryMegabytes: Double?
  /// Memory as a share of all weights, instead of megabytes.
  public var memoryShare: Double?
  /// The load that the rates of the arrivals are scaled to: 1 when the device is just kept busy by
  /// the best batches without any page-in.
  public var load: Double?
  /// Seconds in which requests come.
  public var seconds: Double?
  /// What makes chance repeatable.
  public var seed: UInt64?
  /// How much single layer times differ from the tables.
  public var noise: Double?
  /// Trouble.
  public var faults: Workload.Faults?
  /// Milliseconds after which a request goes first, under policies that promise it; 5000 when
  /// absent.
  public var starvationMilliseconds: Double?
  /// The models.
  public var models: [Model]
  /// The policies to compare; all when absent.
  public var policies: [String]?

  enum CodingKeys: String, CodingKey {
    case device, units, load, seconds, seed, noise, faults, models, policies
    case deviceProfile = "device_profile"
    case memoryMegabytes = "memory_mb"
    case memoryShare = "memory_share"
    case starvationMilliseconds = "starvation_ms"
  }

  /// A sentence on what is wrong with a file.
  public struct Mistake: Error, CustomStringConvertible {
    /// The sentence.
    public let description: String

    /// A sentence on what is wrong with a file.
    public init(_ description: String) { self.description = description }
  }

  /// The workload that the file describes.
  ///
  /// - Parameters:
  ///   - device: Reads the device's file.
  ///   - network: Reads a network's file.
  ///   - trace: Reads the seconds of a trace.
  /// - Throws: `Mistake`, or what the readers throw.
  public func workload(
    device read: (String) throws -> DeviceProfile, network: (String) throws -> NetworkProfile,
    trace: (String) throws -> [Double]
  ) throws -> Workload {
    guard var device = try deviceProfile ?? device.map(read) else {
      throw Mistake("The workload names no device: give device or device_profile.")
    }
    device.units = units ?? device.units
    var models: [Workload.Model] = []
    for model in self.models {
      guard let layers = try model.layers ?? model.network.map(network), !layers.layers.isEmpty
      else { throw Mistake("The model \(model.name) has no layers: give network or layers.") }
      var arrivals = model.arrivals
      if let file = model.trace { arrivals.times = try trace(file) }
      for copy in 0..<max(model.copies ?? 1, 1) {
        models.append(
          Workload.Model(
            name: (model.copies ?? 1) > 1 ? "\(model.name)-\(copy + 1)" : model.name,
            profile: profile(model, layers, on: device), arrivals: arrivals))
      }
    }
    guard !models.isEmpty else { throw Mistake("The workload has no models.") }
    if let load { scale(&models, to: load, units: device.units) }
    let weights = models.reduce(0) { $0 + $1.profile.weights.bytes }
    let megabytes = memoryMegabytes.map { Int($0 * 1e6) }
    guard let budget = megabytes ?? memoryShare.map({ Int($0 * Double(weights)) }) else {
      throw Mistake("The workload says nothing of memory: give memory_mb or memory_share.")
    }
    return Workload(
      device: device, budget: ByteCount(budget), models: models, seconds: seconds ?? 10,
      seed: seed ?? 1, noise: noise ?? 0, faults: faults ?? Workload.Faults(),
      starvationBound: .nanoseconds(Int64((starvationMilliseconds ?? 5000) * 1e6)))
  }

  private func profile(
    _ model: Model, _ network: NetworkProfile, on device: DeviceProfile
  ) -> ModelProfile {
    ModelProfile(
      layers: network.layerProfiles(on: device),
      input: ByteCount(Int(network.inputMegabytes * 1e6)), maximumBatch: model.maximumBatch ?? 32,
      maximumQueueDelay: .nanoseconds(Int64((model.delayMilliseconds ?? 0) * 1e6)),
      queueLimit: model.queueLimit ?? 1_000_000, weight: model.weight ?? 1,
      target: model.targetMilliseconds.map { .nanoseconds(Int64($0 * 1e6)) })
  }

  /// Multiplies all rates so that the samples that come, each at its cost in the best batch, keep
  /// the device busy for the wanted share of the time.
  private func scale(_ models: inout [Workload.Model], to load: Double, units: Int) {
    var busy = 0.0
    for model in models {
      let sizes = model.arrivals.samples ?? [1]
      let samples = Double(sizes.reduce(0, +)) / Double(max(sizes.count, 1))
      busy +=
        (model.arrivals.rate ?? 0) * samples * Bounds.sampleSeconds(model.profile, units: units)
    }
    guard busy > 0 else { return }
    for index in models.indices {
      models[index].arrivals.rate = models[index].arrivals.rate.map { $0 * load / busy }
    }
  }
}
