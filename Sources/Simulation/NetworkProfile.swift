public import Scheduling
import Vocabulary

/// A network as data: its layers, and where the numbers come from.
public struct NetworkProfile: Sendable, Codable {
  /// A layer.
  public struct Layer: Sendable, Codable {
    /// The name in the network.
    public var name: String?
    /// Megabytes (10^6 bytes) of weights.
    public var weightsMegabytes: Double
    /// Megabytes per sample that live after the layer.
    public var activationMegabytes: Double
    /// Megabytes of scratch per sample.
    public var scratchMegabytes: Double?
    /// 10^9 floating-point operations per sample.
    public var gigaflop: Double?
    /// Blocks of work per sample, for how far it scales with units.
    public var blocks: Double?
    /// A measured line, instead of the device's roofline: milliseconds of a call and of a sample.
    public var cost: Cost?
    /// Measured times by batch and units, instead of a line.
    public var table: Table?
    /// Other kernels that compute the layer.
    public var variants: [Variant]?

    enum CodingKeys: String, CodingKey {
      case name, blocks, variants
      case table = "cost_table"
      case weightsMegabytes = "weights_mb"
      case activationMegabytes = "activation_mb"
      case scratchMegabytes = "scratch_mb"
      case gigaflop = "gflop"
      case cost = "cost_ms"
    }

    /// A layer; what is not said here is unknown.
    public init(name: String, weightsMegabytes: Double, activationMegabytes: Double) {
      self.name = name
      self.weightsMegabytes = weightsMegabytes
      self.activationMegabytes = activationMegabytes
    }
  }

  /// Another kernel of a layer; what is not said is as the layer says.
  public struct Variant: Sendable, Codable {
    /// Megabytes of weights in the layout that it reads.
    public var weightsMegabytes: Double?
    /// Megabytes of scratch per sample.
    public var scratchMegabytes: Double?
    /// 10^9 floating-point operations per sample.
    public var gigaflop: Double?
    /// A measured line: milliseconds of a call and of a sample.
    public var cost: Cost?
    /// Measured times by batch and units, instead of a line.
    public var table: Table?

    enum CodingKeys: String, CodingKey {
      case weightsMegabytes = "weights_mb"
      case scratchMegabytes = "scratch_mb"
      case gigaflop = "gflop"
      case cost = "cost_ms"
      case table = "cost_table"
    }

    /// A kernel that is as its layer says.
    public init() {}
  }

  /// A measured line.
  public struct Cost: Sendable, Codable {
    /// Milliseconds of a call.
    public var fixed: Double
    /// Milliseconds of a sample.
    public var perSample: Double

    enum CodingKeys: String, CodingKey {
      case fixed
      case perSample = "per_sample"
    }

    /// A measured line.
    public init(fixed: Double, perSample: Double) {
      self.fixed = fixed
      self.perSample = perSample
    }
  }

  /// Measured times of one call.
  public struct Table: Sendable, Codable {
    /// Samples of the calls, ascending.
    public var batches: [Int]
    /// Numbers of compute units, ascending.
    public var units: [Int]
    /// For each number of units the times of all batches.
    public var milliseconds: [[Double]]

    enum CodingKeys: String, CodingKey {
      case batches, units
      case milliseconds = "ms"
    }

    /// Measured times of one call.
    public init(batches: [Int], units: [Int], milliseconds: [[Double]]) {
      self.batches = batches
      self.units = units
      self.milliseconds = milliseconds
    }

    /// The same for a policy; nil when times are missing.
    var layerCost: LayerCost? {
      guard !batches.isEmpty, milliseconds.count == units.count, !units.isEmpty,
        milliseconds.allSatisfy({ $0.count == batches.count })
      else { return nil }
      return LayerCost(
        batches: batches, units: units, seconds: milliseconds.joined().map { $0 / 1e3 })
    }
  }

  /// The name.
  public var name: String
  /// Where the numbers come from.
  public var source: String?
  /// Megabytes of one sample of input.
  public var inputMegabytes: Double
  /// Layers in running order.
  public var layers: [Layer]

  enum CodingKeys: String, CodingKey {
    case name, source, layers
    case inputMegabytes = "input_mb"
  }

  /// A network as data.
  public init(name: String, source: String, inputMegabytes: Double, layers: [Layer]) {
    self.name = name
    self.source = source
    self.inputMegabytes = inputMegabytes
    self.layers = layers
  }

  /// The layers as a policy sees them on a device: what the server would cut into tiles is cut.
  public func layerProfiles(on device: DeviceProfile) -> [LayerProfile] {
    var before = Int(inputMegabytes * 1e6)
    return layers.flatMap { layer in
      let tiles = tiles(of: layer, before: before, on: device)
      before = Int(layer.activationMegabytes * 1e6)
      return tiles
    }
  }

  /// A layer cut by output channels into tiles, as the compiler cuts products: every tile reads the
  /// whole input and adds its share of the output.
  ///
  /// Cutting does not depend on the budget, because the server packs weights once and the budget
  /// may change. A layer with measured times stays whole: it was measured as it is served.
  private func tiles(
    of layer: Layer, before: Int, on device: DeviceProfile
  ) -> [LayerProfile] {
    let weights = Int(layer.weightsMegabytes * 1e6)
    let after = Int(layer.activationMegabytes * 1e6)
    let count =
      layer.cost == nil && layer.table == nil
      ? max((weights + Limits.tileBytes - 1) / Limits.tileBytes, 1) : 1
    return (0..<count).map { index in
      let tile = Tile(index: index, count: count, before: before, after: after)
      let kernels = ([Variant()] + (layer.variants ?? [])).map {
        kernel($0, of: layer, tile, on: device)
      }
      return LayerProfile(
        weights: kernels[0].weights,
        activations: ByteCount(index == count - 1 ? after : before + tile.written),
        scratch: kernels[0].scratch, cost: kernels[0].cost,
        alternatives: Array(kernels.dropFirst()))
    }
  }

  /// A share of a layer's output channels.
  private struct Tile {
    var index: Int
    var count: Int
    /// Bytes per sample before the layer, and after it.
    var before: Int
    var after: Int

    /// What falls on the tile of something that is divided among all.
    func share(_ whole: Int) -> Int { whole * (index + 1) / count - whole * index / count }

    /// Bytes of output per sample when the tile has run.
    var written: Int { after * (index + 1) / count }
  }

  private func kernel(
    _ variant: Variant, of layer: Layer, _ tile: Tile, on device: DeviceProfile
  ) -> KernelProfile {
    let megabytes = variant.weightsMegabytes ?? layer.weightsMegabytes
    let weights = tile.share(Int(megabytes * 1e6))
    let scratch = variant.scratchMegabytes ?? layer.scratchMegabytes ?? 0
    let isServed = variant.cost == nil && variant.gigaflop == nil
    let cost =
      (variant.table ?? (isServed ? layer.table : nil))?.layerCost
      ?? (variant.cost ?? (variant.gigaflop == nil ? layer.cost : nil)).map {
        LayerCost(
          batches: [1, 2], units: [1],
          seconds: [($0.fixed + $0.perSample) / 1e3, ($0.fixed + 2 * $0.perSample) / 1e3])
      }
      ?? device.cost(
        flops: (variant.gigaflop ?? layer.gigaflop ?? 0) * 1e9 / Double(tile.count),
        weights: weights, input: tile.before, output: tile.share(tile.after),
        blocks: (layer.blocks ?? 1e9) / Double(tile.count))
    return KernelProfile(
      weights: ByteCount(weights), scratch: ByteCount(Int(scratch * 1e6)), cost: cost)
  }
}
