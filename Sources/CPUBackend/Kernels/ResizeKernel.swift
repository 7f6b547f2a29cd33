import Models

/// Makes images larger or smaller: every output row is a sum of input rows, and every pixel of it a
/// sum of pixels of that.
///
/// Operands: input, output, both plain, or both with groups of channels side by side.
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

  /// Images: channels of samples, groups of them, or samples.
  let planes: Int
  /// Rows and columns of an input image.
  let height: Int
  let width: Int
  let rows: Line
  let columns: Line
  /// What lies side by side for each pixel; sums are made of one number of FP32, or of sixteen.
  let pixelBytes: Int

  var scratch: Int { 0 }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    if rows.picks && columns.picks {
      switch pixelBytes {
      case 4: pick(operands, as: UInt32.self)
      case 32: pick(operands, as: SIMD32<UInt8>.self)
      case 64: pick(operands, as: SIMD64<UInt8>.self)
      default: pickBytes(operands)
      }
    } else if pixelBytes == 4 {
      add(operands, as: Float.self)
    } else {
      add(operands, as: SIMD16<Float>.self)
    }
  }

  /// Calls `body` with each row of the output.
  private func forEachRow(_ body: (_ plane: Int, _ row: Int) -> Void) {
    let work = planes * rows.count
    OneDNN.parallel { thread, threads in
      for index in work * thread / threads..<work * (thread + 1) / threads {
        body(index / rows.count, index % rows.count)
      }
    }
  }

  // MARK: One pixel for each

  private func pick<Pixel>(_ operands: [UnsafeMutableRawPointer], as: Pixel.Type) {
    let source = UnsafePointer(operands[0].assumingMemoryBound(to: Pixel.self))
    let target = operands[1].assumingMemoryBound(to: Pixel.self)
    columns.places.withUnsafeBufferPointer { places in
      forEachRow { plane, row in
        let line = source + (plane * height + rows.places[row]) * width
        let made = target + (plane * rows.count + row) * places.count
        for column in 0..<places.count { made[column] = line[places[column]] }
      }
    }
  }

  private func pickBytes(_ operands: [UnsafeMutableRawPointer]) {
    forEachRow { plane, row in
      let line = operands[0] + (plane * height + rows.places[row]) * width * pixelBytes
      let made = operands[1] + (plane * rows.count + row) * columns.count * pixelBytes
      for (column, place) in columns.places.enumerated() {
        (made + column * pixelBytes).copyMemory(
          from: line + place * pixelBytes, byteCount: pixelBytes)
      }
    }
  }

  // MARK: Sums

  private func add<Pixel: Summand>(_ operands: [UnsafeMutableRawPointer], as: Pixel.Type) {
    let source = UnsafePointer(operands[0].assumingMemoryBound(to: Pixel.self))
    let target = operands[1].assumingMemoryBound(to: Pixel.self)
    forEachRow { plane, row in
      withUnsafeTemporaryAllocation(of: Pixel.self, capacity: width) { sums in
        guard let sums = sums.baseAddress else { return }
        let image = source + plane * height * width
        let taps = rows.starts[row]..<rows.starts[row + 1]
        let isOne = taps.count == 1 && rows.weights[taps.lowerBound] == 1
        if !isOne { join(image, taps, sums) }
        let line = isOne ? image + rows.places[taps.lowerBound] * width : UnsafePointer(sums)
        fill(line, target + (plane * rows.count + row) * columns.count)
      }
    }
  }

  private func join<Pixel: Summand>(
    _ image: UnsafePointer<Pixel>, _ taps: Range<Int>, _ sums: UnsafeMutablePointer<Pixel>
  ) {
    sums.update(repeating: .zero, count: width)
    for tap in taps {
      let (line, weight) = (image + rows.places[tap] * width, rows.weights[tap])
      for column in 0..<width { sums[column].add(line[column], times: weight) }
    }
  }

  private func fill<Pixel: Summand>(
    _ line: UnsafePointer<Pixel>, _ target: UnsafeMutablePointer<Pixel>
  ) {
    columns.places.withUnsafeBufferPointer { places in
      columns.weights.withUnsafeBufferPointer { weights in
        columns.starts.withUnsafeBufferPointer { starts in
          for column in 0..<starts.count - 1 {
            var sum = Pixel.zero
            for tap in starts[column]..<starts[column + 1] {
              sum.add(line[places[tap]], times: weights[tap])
            }
            target[column] = sum
          }
        }
      }
    }
  }
}

/// What sums of pixels are made of.
private protocol Summand {
  static var zero: Self { get }
  mutating func add(_ other: Self, times weight: Float)
}

extension Float: Summand {
  @inline(__always)
  fileprivate mutating func add(_ other: Float, times weight: Float) { self += weight * other }
}

extension SIMD16<Float>: Summand {
  @inline(__always)
  fileprivate mutating func add(_ other: Self, times weight: Float) { self += weight * other }
}
