import Models

/// Softmax along an axis behind which others lie, for which oneDNN has no fast kernel: sixteen
/// neighbours at once.
///
/// Operands: input, output, FP32 in the plain layout; they may be the same memory.
struct SoftmaxKernel: Kernel {
  let outer: Int
  let size: Int
  /// Elements that share all but the axis; at least 16.
  let inner: Int

  var scratch: Int { 0 }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    let source = operands[0].assumingMemoryBound(to: Float.self)
    let target = operands[1].assumingMemoryBound(to: Float.self)
    let strips = inner / 16
    OneDNN.parallel { thread, threads in
      for index in outer * strips * thread / threads..<outer * strips * (thread + 1) / threads {
        let start = index / strips * size * inner + index % strips * 16
        runStrip(source + start, target + start)
      }
    }
    for line in 0..<outer {
      for place in strips * 16..<inner { runLine(source, target, line * size * inner + place) }
    }
  }

  private func runStrip(
    _ source: UnsafeMutablePointer<Float>, _ target: UnsafeMutablePointer<Float>
  ) {
    var largest = VectorMath.load(source)
    for row in 1..<max(size, 1) {
      let x = VectorMath.load(source + row * inner)
      largest.replace(with: x, where: x .> largest)
    }
    var sum = SIMD16<Float>.zero
    for row in 0..<size {
      let power = VectorMath.exp(VectorMath.load(source + row * inner) - largest)
      sum += power
      VectorMath.store(power, target + row * inner)
    }
    let factor = 1 / sum
    for row in 0..<size {
      VectorMath.store(VectorMath.load(target + row * inner) * factor, target + row * inner)
    }
  }

  /// One of the last few, by itself.
  private func runLine(
    _ source: UnsafeMutablePointer<Float>, _ target: UnsafeMutablePointer<Float>, _ start: Int
  ) {
    let places = stride(from: start, to: start + size * inner, by: inner)
    let largest = places.reduce(-Float.infinity) { max($0, source[$1]) }
    var sum: Float = 0
    for place in places {
      target[place] = VectorMath.exp(SIMD16(repeating: source[place] - largest))[0]
      sum += target[place]
    }
    for place in places { target[place] /= sum }
  }
}
