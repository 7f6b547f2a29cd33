import Models

/// The steps of a recurrent layer, each direction of a sample by itself: what LSTM and GRU share.
protocol RecurrentKernel: Kernel {
  /// Gates of a hidden unit.
  static var gateCount: Int { get }
  /// Rows of `width` numbers that each direction of each sample works in.
  static var rowCount: Int { get }

  var samples: Int { get }
  var hidden: Int { get }
  /// For each direction whether it begins with the last step.
  var directions: [Bool] { get }

  /// Takes one direction of one sample through all steps, in memory of `rowCount` rows.
  func runOne(
    _ operands: [UnsafeMutablePointer<Float>], direction: Int, sample: Int,
    _ memory: UnsafeMutablePointer<Float>)
}

extension RecurrentKernel {
  /// Hidden units rounded up to whole vectors: rows in memory of our own.
  var width: Int { (hidden + 15) & ~15 }

  var scratch: Int { samples * directions.count * Self.rowCount * width * 4 + 64 }

  /// Floats of the packed weights.
  var weightCount: Int { directions.count * hidden * Self.gateCount * width }

  /// Writes weights of shape [directions, gates × hidden, hidden] unit by unit of the state: what
  /// it adds to all gates, each in whole vectors.
  func pack(_ weights: UnsafeBufferPointer<Float>, into packed: UnsafeMutablePointer<Float>) {
    packed.update(repeating: 0, count: weightCount)
    let rows = Self.gateCount * hidden
    for direction in directions.indices {
      for row in 0..<rows {
        let lane = row / hidden * width + row % hidden
        for unit in 0..<hidden {
          packed[(direction * hidden + unit) * Self.gateCount * width + lane] =
            weights[(direction * rows + row) * hidden + unit]
        }
      }
    }
  }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    let floats = operands.map { $0.assumingMemoryBound(to: Float.self) }
    let memory = scratchpad.assumingMemoryBound(to: Float.self)
    let work = samples * directions.count
    OneDNN.parallel { thread, threads in
      for index in work * thread / threads..<work * (thread + 1) / threads {
        runOne(
          floats, direction: index / samples, sample: index % samples,
          memory + index * Self.rowCount * width)
      }
    }
  }
}
