import Scheduling
public import Vocabulary

/// A device as data: what it computes, moves and holds, and where the numbers come from.
public struct DeviceProfile: Sendable, Codable {
  /// A way of bringing weights in.
  public struct Link: Sendable, Codable {
    /// Gigabytes (10^9 bytes) per second.
    public var gigabytesPerSecond: Double
    /// Microseconds before the first byte of each transfer.
    public var latencyMicroseconds: Double
    /// How much slower layers compute while weights come in: 0.1 for 10 %; not at all when nil.
    public var slowdown: Double?

    enum CodingKeys: String, CodingKey {
      case slowdown
      case gigabytesPerSecond = "gb_per_s"
      case latencyMicroseconds = "latency_us"
    }

    /// A way of bringing weights in.
    public init(gigabytesPerSecond: Double, latencyMicroseconds: Double, slowdown: Double? = nil) {
      self.gigabytesPerSecond = gigabytesPerSecond
      self.latencyMicroseconds = latencyMicroseconds
      self.slowdown = slowdown
    }
  }

  /// What it costs when a run touches weights that are not there.
  public struct Demand: Sendable, Codable {
    /// Gigabytes per second while faults are served.
    public var gigabytesPerSecond: Double
    /// Microseconds of handling one fault batch.
    public var faultMicroseconds: Double
    /// Faults that one missing block raises as the prefetcher grows it.
    public var faultsPerBlock: Double
    /// Megabytes (2^20 bytes) of a block.
    public var blockMegabytes: Double
    /// Faults that one compute unit keeps outstanding.
    public var faultsPerUnit: Double
    /// Faults of one fault batch at most.
    public var faultBatch: Double

    enum CodingKeys: String, CodingKey {
      case gigabytesPerSecond = "gb_per_s"
      case faultMicroseconds = "fault_us"
      case faultsPerBlock = "faults_per_block"
      case blockMegabytes = "block_mb"
      case faultsPerUnit = "faults_per_unit"
      case faultBatch = "fault_batch"
    }
  }

  /// What layers without a measured table cost: a roofline with a fixed part.
  public struct Compute: Sendable, Codable {
    /// 10^9 floating-point operations per second of all units together.
    public var gigaflops: Double
    /// Gigabytes per second of device memory.
    public var gigabytesPerSecond: Double
    /// Microseconds of one kernel call that does nothing.
    public var launchMicroseconds: Double
    /// Blocks of work that keep one unit busy: a layer with fewer does not use all units.
    public var blocksPerUnit: Double

    enum CodingKeys: String, CodingKey {
      case gigaflops = "gflops"
      case gigabytesPerSecond = "gb_per_s"
      case launchMicroseconds = "launch_us"
      case blocksPerUnit = "blocks_per_unit"
    }
  }

  /// The name.
  public var name: String
  /// Where the numbers come from.
  public var source: String
  /// Compute units.
  public var units: Int
  /// Kilobytes (2^10 bytes) of a page.
  public var pageKilobytes: Int
  /// How much slower each of two runs side by side is: 0.05 for 5 %.
  public var interference: Double
  /// Planned page-ins.
  public var link: Link
  /// Page faults.
  public var demand: Demand
  /// Layers.
  public var compute: Compute

  enum CodingKeys: String, CodingKey {
    case name, source, units, interference, link, demand, compute
    case pageKilobytes = "page_kb"
  }

  /// A device whose layers are all measured: rates of computing and of faults do not matter, and
  /// stand at those of the link.
  public init(
    name: String, source: String, units: Int, pageKilobytes: Int = 64, interference: Double = 0,
    link: Link
  ) {
    self.name = name
    self.source = source
    self.units = units
    self.pageKilobytes = pageKilobytes
    self.interference = interference
    self.link = link
    demand = Demand(
      gigabytesPerSecond: link.gigabytesPerSecond, faultMicroseconds: 0, faultsPerBlock: 0,
      blockMegabytes: 1, faultsPerUnit: 1, faultBatch: 1)
    compute = Compute(
      gigaflops: 1, gigabytesPerSecond: 1, launchMicroseconds: 0, blocksPerUnit: 1)
  }

  /// The size of a page.
  public var page: ByteCount { ByteCount(pageKilobytes << 10) }

  /// Seconds of a planned page-in.
  func pageInSeconds(_ bytes: Int) -> Double {
    link.latencyMicroseconds / 1e6 + Double(bytes) / (link.gigabytesPerSecond * 1e9)
  }

  /// Fault batches, and seconds, of faulting weights in by a run on some units.
  ///
  /// `faults = faultsPerBlock × ⌈bytes / block⌉`, handled `min(fault batch, faults per unit ×
  /// units)` at a time: few units keep few faults outstanding (Kim et al., ASPLOS 2020).
  func demandCost(_ bytes: Int, units: Int) -> (faultBatches: Int, seconds: Double) {
    let blocks = (Double(bytes) / (demand.blockMegabytes * 1_048_576)).rounded(.up)
    let together = max(min(demand.faultBatch, demand.faultsPerUnit * Double(units)), 1)
    let batches = (demand.faultsPerBlock * blocks / together).rounded(.up)
    let seconds =
      batches * demand.faultMicroseconds / 1e6
      + Double(bytes) / (demand.gigabytesPerSecond * 1e9)
    return (Int(batches), seconds)
  }

  /// The table of a layer that was not measured.
  func cost(
    flops: Double, weights: Int, input: Int, output: Int, blocks: Double
  ) -> LayerCost {
    let batches = [1, 2, 4, 8, 16, 32]
    let rows = units <= 8 ? Array(1...units) : (1...10).map { units * $0 / 10 }
    var seconds: [Double] = []
    for row in rows {
      for batch in batches {
        let busy = min(Double(row), max(Double(batch) * blocks / compute.blocksPerUnit, 1))
        let share = busy / Double(units)
        let arithmetic = Double(batch) * flops / (compute.gigaflops * 1e9 * share)
        let traffic =
          Double(weights + batch * (input + output)) / (compute.gigabytesPerSecond * 1e9)
        seconds.append(compute.launchMicroseconds / 1e6 + max(arithmetic, traffic))
      }
    }
    return LayerCost(batches: batches, units: rows, seconds: seconds)
  }
}
