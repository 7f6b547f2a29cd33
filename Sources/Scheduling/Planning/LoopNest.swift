/// A step to come: a layer and how many samples it takes.
struct Visit: Sendable, Equatable {
  var layer: Int
  var samples: Int
}

/// The order of steps as nested loops: groups, segments, chunks, layers, layer batches.
///
/// A small chunk keeps few activations and reads weights often; a large one the other way round.
/// The loop nest is what an executor can follow, and what the planner searches.
struct LoopNest: Sendable, Equatable {
  /// Consecutive layers run depth first with one chunk size.
  struct Segment: Sendable, Equatable {
    var layers: Range<Int>
    var chunk: Int
    /// Samples of one step, for each layer of the segment.
    var batches: [Int]
  }

  /// Samples that travel together.
  struct Group: Sendable, Equatable {
    var samples: Int
    var segments: [Segment]
  }

  var groups: [Group]

  /// The steps in order.
  var visits: [Visit] {
    var visits: [Visit] = []
    for group in groups {
      for segment in group.segments {
        Self.add(segment, samples: group.samples, to: &visits)
      }
    }
    return visits
  }

  private static func add(_ segment: Segment, samples: Int, to visits: inout [Visit]) {
    var left = samples
    while left > 0 {
      let chunk = min(segment.chunk, left)
      for (offset, layer) in segment.layers.enumerated() {
        var waiting = chunk
        while waiting > 0 {
          let batch = min(segment.batches[offset], waiting)
          visits.append(Visit(layer: layer, samples: batch))
          waiting -= batch
        }
      }
      left -= chunk
    }
  }
}
