import Models

/// A 1×1 convolution whose groups do not fill vectors of channels: one small product for each
/// group, with bias, residual and Relu, in the plain layout.
///
/// Operands: input, weights, bias, residual if there is one, output. The output may be the
/// residual's memory.
struct GroupedPointwiseKernel: Kernel {
  private typealias Vector = SIMD16<Float>

  /// Output channels computed together: with 16 pixels each they are 12 sums in the 16 registers of
  /// AVX2, more than the 8 products that are under way at once.
  static let tile = 6
  /// Pixels computed together, and so the least that a plane must have.
  static let width = 16

  let samples: Int
  let groups: Int
  /// Channels of a group.
  let inputs: Int
  let outputs: Int
  let plane: Int
  let addsResidual: Bool
  let clampsAtZero: Bool

  var scratch: Int { 0 }

  /// Floats of the packed weights: for each group and each tile of its output channels, all input
  /// channels, each with the weights of the tile's outputs side by side.
  var weightCount: Int { groups * tiles * inputs * Self.tile }

  private var tiles: Int { (outputs + Self.tile - 1) / Self.tile }

  /// Writes weights of shape [groups × outputs, inputs] in the order in which a run reads them.
  func pack(_ weights: UnsafeBufferPointer<Float>, into packed: UnsafeMutablePointer<Float>) {
    for group in 0..<groups {
      for output in 0..<tiles * Self.tile {
        let row = (group * outputs + output) * inputs
        let block = packed + (group * tiles + output / Self.tile) * inputs * Self.tile
        for input in 0..<inputs {
          block[input * Self.tile + output % Self.tile] =
            output < outputs ? weights[row + input] : 0
        }
      }
    }
  }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    let floats = operands.map { $0.assumingMemoryBound(to: Float.self) }
    let strips = (plane + Self.width - 1) / Self.width
    let work = samples * groups * strips
    OneDNN.parallel { thread, threads in
      for index in work * thread / threads..<work * (thread + 1) / threads {
        let (part, strip) = index.quotientAndRemainder(dividingBy: strips)
        runStrip(floats, sample: part / groups, group: part % groups, pixel: strip * Self.width)
      }
    }
  }

  /// All outputs of a group for 16 pixels; the last strip begins earlier to be as wide.
  private func runStrip(
    _ operands: [UnsafeMutablePointer<Float>], sample: Int, group: Int, pixel: Int
  ) {
    let start = min(pixel, plane - Self.width)
    let known = pixel - start
    let part = sample * groups + group
    let source = operands[0] + part * inputs * plane + start
    let bias = operands[2] + group * outputs
    let target = operands[operands.count - 1] + part * outputs * plane + start
    let residual = addsResidual ? operands[3] + part * outputs * plane + start : nil
    for tile in 0..<tiles {
      let first = tile * Self.tile
      let weights = operands[1] + (group * tiles + tile) * inputs * Self.tile
      let sums = product(weights, source)
      withUnsafeBytes(of: sums) { sums in
        for lane in 0..<min(Self.tile, outputs - first) {
          let offset = (first + lane) * plane
          var sum = sums.load(fromByteOffset: lane * 64, as: Vector.self)
          sum += Vector(repeating: bias[first + lane])
          if let residual { sum += load(residual + offset) }
          if clampsAtZero { sum.replace(with: 0, where: sum .< 0) }
          store(sum, target + offset, from: known)
        }
      }
    }
  }

  @inline(__always)
  private func product(
    _ weights: UnsafePointer<Float>, _ source: UnsafePointer<Float>
  ) -> (Vector, Vector, Vector, Vector, Vector, Vector) {
    var (a, b, c) = (Vector.zero, Vector.zero, Vector.zero)
    var (d, e, f) = (Vector.zero, Vector.zero, Vector.zero)
    var weights = weights
    for input in 0..<inputs {
      let x = load(source + input * plane)
      a.addProduct(Vector(repeating: weights[0]), x)
      b.addProduct(Vector(repeating: weights[1]), x)
      c.addProduct(Vector(repeating: weights[2]), x)
      d.addProduct(Vector(repeating: weights[3]), x)
      e.addProduct(Vector(repeating: weights[4]), x)
      f.addProduct(Vector(repeating: weights[5]), x)
      weights += Self.tile
    }
    return (a, b, c, d, e, f)
  }

  @inline(__always)
  private func load(_ place: UnsafePointer<Float>) -> Vector {
    UnsafeRawPointer(place).loadUnaligned(as: Vector.self)
  }

  /// Pixels before `first` belong to the strip before and may hold its finished results.
  @inline(__always)
  private func store(_ values: Vector, _ place: UnsafeMutablePointer<Float>, from first: Int) {
    if first == 0 {
      UnsafeMutableRawPointer(place).storeBytes(of: values, as: Vector.self)
    } else {
      for lane in first..<Self.width { place[lane] = values[lane] }
    }
  }
}
