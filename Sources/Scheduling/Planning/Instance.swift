/// A network and a device, as the planner sees them: sizes are megabytes (10⁶ bytes), times are
/// milliseconds.
///
/// What a plan has to respect: steps run one after another, a step takes samples of one border
/// through one layer, and while it runs the memory holds all resident weights, the activations of
/// every sample at its border, and the step's own output. The network's input waits outside; the
/// last layer's output leaves at once. The link carries one page-in at a time; dropping weights is
/// free.
public struct Instance: Sendable, Equatable {
  /// What is to be as small as possible.
  public enum Objective: String, Sendable, CaseIterable {
    /// The moment when the last sample is through.
    case makespan
    /// The sum over all samples of the moments when they are through.
    case sum
  }

  /// One way to compute a layer: direct, Winograd, another number format.
  public struct Kernel: Sendable, Equatable {
    /// Megabytes of weights in the layout of this kernel.
    public var weights: Double
    /// Megabytes of scratch while a step runs.
    public var scratch: Double
    /// Time of a step by its number of samples.
    public var time: StepTime

    /// One way to compute a layer.
    public init(weights: Double, scratch: Double = 0, time: StepTime) {
      self.weights = weights
      self.scratch = scratch
      self.time = time
    }
  }

  /// A layer: what its samples hold after it, and the ways to compute it.
  public struct Layer: Sendable, Equatable {
    /// The name shown to people.
    public var name: String
    /// Megabytes per sample that live across the border after the layer.
    public var activations: Double
    /// The ways to compute it, at least one.
    public var kernels: [Kernel]

    /// A layer.
    public init(name: String = "", activations: Double, kernels: [Kernel]) {
      self.name = name
      self.activations = activations
      self.kernels = kernels
    }

    /// A layer with one kernel.
    public init(name: String = "", weights: Double, activations: Double, time: StepTime) {
      self.init(
        name: name, activations: activations, kernels: [Kernel(weights: weights, time: time)])
    }
  }

  /// Layers in running order.
  public var layers: [Layer]
  /// Megabytes per sample of the network's input; it waits outside of the memory.
  public var input: Double
  /// Samples to push through.
  public var samples: Int
  /// Megabytes for weights, activations and scratch.
  public var memory: Double
  /// Megabytes per millisecond of a page-in.
  public var linkRate: Double
  /// Milliseconds of each page-in before its first byte.
  public var linkLatency: Double
  /// Whether page-ins run beside steps; without, every step waits for its own.
  public var prefetch: Bool
  /// What is to be as small as possible.
  public var objective: Objective
  /// Megabytes of a page; nil when the weights of a layer come and go whole.
  public var page: Double?

  /// A network and a device.
  public init(
    layers: [Layer], input: Double = 0, samples: Int, memory: Double, linkRate: Double,
    linkLatency: Double = 0, prefetch: Bool = true, objective: Objective = .makespan,
    page: Double? = nil
  ) {
    self.layers = layers
    self.input = input
    self.samples = samples
    self.memory = memory
    self.linkRate = linkRate
    self.linkLatency = linkLatency
    self.prefetch = prefetch
    self.objective = objective
    self.page = page
  }
}

/// The time of a step by its number of samples, in milliseconds.
public enum StepTime: Sendable, Equatable {
  /// A straight line.
  case linear(fixed: Double, perSample: Double)
  /// Measured points, ascending by samples; straight lines between them and on beyond the last.
  case table([Point])

  /// One measured point.
  public struct Point: Sendable, Equatable {
    /// Samples of the step.
    public var samples: Int
    /// Its time.
    public var milliseconds: Double

    /// One measured point.
    public init(samples: Int, milliseconds: Double) {
      self.samples = samples
      self.milliseconds = milliseconds
    }
  }

  /// The time of a step with a number of samples.
  public func milliseconds(samples: Int) -> Double {
    switch self {
    case .linear(let fixed, let perSample): return fixed + perSample * Double(samples)
    case .table(let points): return Self.interpolate(points, at: samples)
    }
  }

  private static func interpolate(_ points: [Point], at samples: Int) -> Double {
    guard let first = points.first, let last = points.last else { return 0 }
    if samples <= first.samples { return first.milliseconds }
    guard points.count > 1 else {
      return first.milliseconds * Double(samples) / Double(max(first.samples, 1))
    }
    let upper = points.firstIndex { $0.samples >= samples } ?? points.count - 1
    let (from, to) = (points[upper - 1], points[upper])
    let slope =
      (to.milliseconds - from.milliseconds) / Double(max(to.samples - from.samples, 1))
    let time = from.milliseconds + slope * Double(samples - from.samples)
    return max(time, samples > last.samples ? last.milliseconds : 0)
  }
}

/// Why there is no plan, as a sentence that a client can act on.
public enum PlanningError: Error, Equatable, CustomStringConvertible {
  /// The instance contradicts itself.
  case invalid(String)
  /// One step does not fit: the layer's weights, one sample and its output.
  case tooLittleMemory(layer: Int, name: String, needed: Double, memory: Double, canTile: Bool)

  /// The sentence.
  public var description: String {
    switch self {
    case .invalid(let sentence): return sentence
    case .tooLittleMemory(let layer, let name, let needed, let memory, let canTile):
      let title = name.isEmpty ? "Layer \(layer)" : "Layer \(layer) (\(name))"
      let bytes = Int((needed * 1e6).rounded(.up))
      let advice =
        canTile
        ? "Raise memory_mb to at least that."
        : "Raise memory_mb to at least that, or give page_mb to cut the layer into tiles."
      return
        "\(title) needs \(bytes) bytes (\(Decimals.text(needed, places: 6)) MB) for its weights, "
        + "one sample and its output, "
        + "but memory_mb is \(Decimals.text(memory, places: 6)). \(advice)"
    }
  }
}

/// Numbers for people, without Foundation.
public enum Decimals {
  /// A number with at most so many decimal places, without trailing zeros.
  public static func text(_ value: Double, places: Int) -> String {
    guard value.isFinite, abs(value) < 1e12 else { return "\(value)" }
    var scale = 1
    for _ in 0..<places { scale *= 10 }
    let scaled = Int((abs(value) * Double(scale)).rounded())
    var digits = String(scaled % scale)
    digits = String(repeating: "0", count: places - digits.count) + digits
    while digits.hasSuffix("0") { digits.removeLast() }
    let sign = value < 0 && scaled > 0 ? "-" : ""
    return sign + "\(scaled / scale)" + (digits.isEmpty || places == 0 ? "" : "." + digits)
  }
}
