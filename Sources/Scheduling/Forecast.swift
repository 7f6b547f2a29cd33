public import Vocabulary

/// What a policy would do with a batch if it were formed now: its way through the model, the
/// memory that it takes and the time that it should need beside nothing else.
public struct Forecast: Sendable, Equatable {
  /// Consecutive layers that some samples go through before the next ones begin.
  public struct Segment: Sendable, Equatable {
    /// Why the chunk is as large as it is.
    public enum Reason: Sendable, Equatable {
      /// There is no budget: all samples go together.
      case unlimited
      /// All samples fit together.
      case fits
      /// All samples together would need this much, more than the budget.
      case wouldNotFit(ByteCount)
      /// All samples together would fit, but smaller chunks take less time.
      case isFaster
    }

    /// The layers.
    public var layers: Range<Int>
    /// Samples that go through all these layers before the next ones begin.
    public var chunk: Int
    /// Samples of one kernel call, by layer.
    public var layerBatches: [Int]
    /// Which of its kernels computes each layer, from 0.
    public var kernels: [Int]
    /// Weights of the layers, in whole pages.
    public var weights: ByteCount
    /// Activations and scratch of all samples while the segment runs.
    public var activations: ByteCount
    /// Time of computing; nil as long as nothing is known of it.
    public var computeTime: Duration?
    /// Why the chunk is as large as it is.
    public var reason: Reason
  }

  /// The samples of the batch.
  public var samples: Int
  /// The most samples of one batch that memory allows now.
  public var largestBatch: Int
  /// Compute units that it gets when nothing else runs.
  public var units: Int
  /// Memory for weights, activations and scratch of all models; nil without limit.
  public var budget: ByteCount?
  /// The least memory that it gets through with.
  public var needed: ByteCount
  /// The way through the model; empty when the batch does not fit.
  public var segments: [Segment]
  /// Bytes to page in when nothing is resident, those of later chunks included.
  public var pageIns: ByteCount
  /// Weights of the model that are in memory now.
  public var resident: ByteCount
  /// Time of computing; nil as long as nothing is known of it.
  public var computeTime: Duration?
  /// Time of the page-ins that are left, given what is resident.
  public var pageInTime: Duration

  /// From start to answers when weights come in behind the computing.
  public var time: Duration? { computeTime.map { max($0, pageInTime) } }
}

extension Scheduler {
  /// Says what would become of a batch now, and changes nothing.
  ///
  /// - Returns: Nil for a model that is not there.
  public func forecast(_ model: ModelID, samples: Int) -> Forecast? {
    guard models.indices.contains(model.index), models[model.index].exists, samples > 0 else {
      return nil
    }
    let state = models[model.index]
    // In a copy: a program that is made now must not be what later batches go by.
    var copy = self
    let program =
      samples <= state.largestBatch ? copy.program(model.index, samples: samples) : nil
    let isTimed = state.costs.isKnown || state.costs.secondsPerSample != nil
    let missing =
      budget == nil ? 0 : max((program?.pageIns ?? 0) - state.residentBytes, 0)
    return Forecast(
      samples: samples, largestBatch: state.largestBatch, units: options.units,
      budget: budget.map(ByteCount.init),
      needed: ByteCount(program?.need ?? memoryNeeded(model.index, samples: samples)),
      segments: program.map { segments($0, of: state, isTimed) } ?? [],
      pageIns: ByteCount(program?.pageIns ?? 0), resident: ByteCount(state.residentBytes),
      computeTime: isTimed ? program.map { .nanoseconds(Int64($0.seconds * 1e9)) } : nil,
      pageInTime: .nanoseconds(Int64(link.seconds(bytes: missing) * 1e9)))
  }

  private func segments(
    _ program: BatchProgram, of state: ModelState, _ isTimed: Bool
  ) -> [Forecast.Segment] {
    program.segments.indices.map { index in
      let segment = program.segments[index]
      let after =
        index + 1 < program.segments.count ? program.segments[index + 1].remaining : 0
      return Forecast.Segment(
        layers: segment.layers, chunk: segment.chunk,
        layerBatches: Array(program.layerBatches[segment.layers]),
        kernels: Array(program.kernelNumbers[segment.layers]),
        weights: ByteCount(
          program.kernels[segment.layers].reduce(0) { $0 + state.kernels.weights[$1] }),
        activations: ByteCount(segment.activations),
        computeTime: isTimed ? .nanoseconds(Int64((segment.remaining - after) * 1e9)) : nil,
        reason: reason(segment, of: program, state))
    }
  }

  /// Why all samples go through a segment together, or do not.
  private func reason(
    _ segment: BatchProgram.Segment, of program: BatchProgram, _ state: ModelState
  ) -> Forecast.Segment.Reason {
    guard let budget else { return .unlimited }
    let samples = program.samples
    guard segment.chunk < samples else { return .fits }
    var most = 0
    for layer in segment.layers {
      let bytes = state.kernels.bytes(program.kernels[layer], samples: samples)
      most = max(most, state.profile.activations(around: layer) * samples + bytes)
    }
    return most > budget ? .wouldNotFit(ByteCount(most)) : .isFaster
  }
}
