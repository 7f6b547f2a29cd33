import Vocabulary

/// How a number of samples goes through a network: segments, chunks, layer batches and kernels.
struct BatchProgram: Sendable {
  /// Consecutive layers run depth first with one chunk size.
  struct Segment: Sendable {
    var layers: Range<Int>
    /// Samples that go through all the layers before the next ones start.
    var chunk: Int
    /// Bytes of activations and scratch of all samples while the segment runs.
    var activations: Int
    /// The largest layer of this segment or a later one, with the activations of its segment.
    var need: Int
    /// Seconds from the start of the segment to the end of the network, without stalls.
    var remaining: Double
  }

  var samples: Int
  var segments: [Segment]
  /// The kernel of each layer, numbered as in the model's `KernelTable`.
  var kernels: [Int]
  /// The kernel of each layer, numbered within the layer.
  var kernelNumbers: [Int]
  /// Samples of one kernel call, by layer.
  var layerBatches: [Int]
  /// Seconds of one chunk of the layer's segment through the layer with all units, by layer.
  var layerSeconds: [Double]
  /// Bytes that have to come in when nothing is resident, re-reads included.
  var pageIns: Int

  /// Seconds of computing with all units.
  var seconds: Double { segments.first?.remaining ?? 0 }
  /// The least memory it gets through with.
  var need: Int { segments.reduce(0) { max($0, $1.need) } }

  /// The segment that begins at a layer, or that runs all samples layer by layer around it.
  func segment(joinableAt layer: Int) -> Int? {
    segments.firstIndex {
      $0.layers.lowerBound == layer || ($0.layers.contains(layer) && $0.chunk >= samples)
    }
  }
}
