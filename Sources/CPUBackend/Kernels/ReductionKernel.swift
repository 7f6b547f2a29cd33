import Models

/// Sums, means and extremes along neighbouring axes.
///
/// Operands: input, output, FP32 in the plain layout.
struct ReductionKernel: Kernel {
  /// What is made of many numbers.
  enum Kind: Sendable {
    case sum
    case mean
    case maximum
    case minimum
  }

  let kind: Kind
  let outer: Int
  let size: Int
  /// Elements that share all but the axes.
  let inner: Int

  var scratch: Int { 0 }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    let source = operands[0].assumingMemoryBound(to: Float.self)
    let target = operands[1].assumingMemoryBound(to: Float.self)
    OneDNN.parallel { thread, threads in
      for line in outer * thread / threads..<outer * (thread + 1) / threads {
        let (from, to) = (source + line * size * inner, target + line * inner)
        switch kind {
        case .sum: reduce(from, to, 0, 1) { $0 + $1 }
        case .mean: reduce(from, to, 0, 1 / Float(size)) { $0 + $1 }
        case .maximum: reduce(from, to, -.infinity, 1) { $0.replacing(with: $1, where: $1 .> $0) }
        case .minimum: reduce(from, to, .infinity, 1) { $0.replacing(with: $1, where: $1 .< $0) }
        }
      }
    }
  }

  @inline(__always)
  private func reduce(
    _ source: UnsafePointer<Float>, _ target: UnsafeMutablePointer<Float>, _ start: Float,
    _ factor: Float, _ join: (SIMD16<Float>, SIMD16<Float>) -> SIMD16<Float>
  ) {
    guard inner > 1 else {
      var lanes = SIMD16<Float>(repeating: start)
      let whole = size & ~15
      for place in stride(from: 0, to: whole, by: 16) {
        lanes = join(lanes, VectorMath.load(source + place))
      }
      var total = SIMD16<Float>(repeating: start)
      for lane in 0..<16 { total = join(total, SIMD16(repeating: lanes[lane])) }
      for place in whole..<size { total = join(total, SIMD16(repeating: source[place])) }
      target[0] = total[0] * factor
      return
    }
    let whole = inner & ~15
    for place in stride(from: 0, to: whole, by: 16) {
      var lanes = SIMD16<Float>(repeating: start)
      for row in 0..<size { lanes = join(lanes, VectorMath.load(source + row * inner + place)) }
      VectorMath.store(lanes * factor, target + place)
    }
    for place in whole..<inner {
      var lane = SIMD16<Float>(repeating: start)
      for row in 0..<size { lane = join(lane, SIMD16(repeating: source[row * inner + place])) }
      target[place] = lane[0] * factor
    }
  }
}
