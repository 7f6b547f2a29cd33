import Models

/// Makes images larger or smaller: every output row is a sum of input rows, and every element of it
/// a sum of elements of that.
///
/// Operands: input, output, FP32 in the plain layout.
struct ResizeKernel: Kernel {
  /// What an output place is made of, places and weights, for each of them in turn.
  struct Line: Sendable {
    /// Where the taps of each output begin; one more at the end.
    private(set) var starts: [Int] = [0]
    private(set) var places: [Int] = []
    private(set) var weights: [Float] = []

    init(_ taps: [[(place: Int, weight: Double)]]) {
      for output in taps {
        for tap in output where tap.weight != 0 {
          places.append(tap.place)
          weights.append(Float(tap.weight))
        }
        starts.append(places.count)
      }
    }

    var count: Int { starts.count - 1 }
    /// Whether each output is one input.
    var picks: Bool { places.count == count && weights.allSatisfy { $0 == 1 } }
  }

  let planes: Int
  /// Rows and columns of an input image.
  let height: Int
  let width: Int
  let rows: Line
  let columns: Line

  var scratch: Int { 0 }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    let source = operands[0].assumingMemoryBound(to: Float.self)
    let target = operands[1].assumingMemoryBound(to: Float.self)
    let picks = columns.picks
    OneDNN.parallel { thread, threads in
      withUnsafeTemporaryAllocation(of: Float.self, capacity: width + 1) { sums in
        guard let sums = sums.baseAddress else { return }
        for plane in planes * thread / threads..<planes * (thread + 1) / threads {
          let image = source + plane * height * width
          for row in 0..<rows.count {
            let taps = rows.starts[row]..<rows.starts[row + 1]
            let isOne = taps.count == 1 && rows.weights[taps.lowerBound] == 1
            if !isOne { join(image, taps, sums) }
            let line = isOne ? image + rows.places[taps.lowerBound] * width : sums
            fill(line, target + (plane * rows.count + row) * columns.count, picks)
          }
        }
      }
    }
  }

  private func join(
    _ image: UnsafePointer<Float>, _ taps: Range<Int>, _ sums: UnsafeMutablePointer<Float>
  ) {
    sums.update(repeating: 0, count: width)
    for tap in taps {
      let (line, weight) = (image + rows.places[tap] * width, rows.weights[tap])
      for column in 0..<width { sums[column] += weight * line[column] }
    }
  }

  private func fill(
    _ line: UnsafePointer<Float>, _ target: UnsafeMutablePointer<Float>, _ picks: Bool
  ) {
    columns.places.withUnsafeBufferPointer { places in
      if picks {
        for column in 0..<places.count { target[column] = line[places[column]] }
        return
      }
      columns.weights.withUnsafeBufferPointer { weights in
        columns.starts.withUnsafeBufferPointer { starts in
          for column in 0..<starts.count - 1 {
            var sum: Float = 0
            for tap in starts[column]..<starts[column + 1] {
              sum += weights[tap] * line[places[tap]]
            }
            target[column] = sum
          }
        }
      }
    }
  }
}
