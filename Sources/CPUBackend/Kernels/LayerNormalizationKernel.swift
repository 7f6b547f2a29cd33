import Models

/// (x - mean) / √(variance + ε) over the last axes, scaled and shifted.
///
/// The mean is taken first: differences from it lose nothing (Ba, Kiros and Hinton, "Layer
/// Normalization", 2016).
///
/// Operands: input, scale, shift if there is one, output; FP32 in the plain layout.
struct LayerNormalizationKernel: Kernel {
  private typealias Vector = SIMD16<Float>

  let rows: Int
  let size: Int
  let epsilon: Float
  let shifts: Bool

  var scratch: Int { 0 }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    let floats = operands.map { $0.assumingMemoryBound(to: Float.self) }
    let target = floats[floats.count - 1]
    OneDNN.parallel { thread, threads in
      for row in rows * thread / threads..<rows * (thread + 1) / threads {
        normalize(
          floats[0] + row * size, floats[1], shifts ? floats[2] : nil, target + row * size)
      }
    }
  }

  private func normalize(
    _ source: UnsafePointer<Float>, _ scale: UnsafePointer<Float>, _ shift: UnsafePointer<Float>?,
    _ target: UnsafeMutablePointer<Float>
  ) {
    let mean = sum(source) { $0 } / Float(size)
    let variance = sum(source) { ($0 - mean) * ($0 - mean) } / Float(size)
    let factor = 1 / (variance + epsilon).squareRoot()
    let whole = size & ~15
    for place in stride(from: 0, to: whole, by: 16) {
      var line = (VectorMath.load(source + place) - mean) * factor * VectorMath.load(scale + place)
      if let shift { line += VectorMath.load(shift + place) }
      VectorMath.store(line, target + place)
    }
    for place in whole..<size {
      target[place] = (source[place] - mean) * factor * scale[place] + (shift?[place] ?? 0)
    }
  }

  /// The sum of a function of all elements of a row.
  @inline(__always)
  private func sum(_ source: UnsafePointer<Float>, _ function: (Vector) -> Vector) -> Float {
    let whole = size & ~15
    var lanes = Vector.zero
    for place in stride(from: 0, to: whole, by: 16) {
      lanes += function(VectorMath.load(source + place))
    }
    var total = lanes.sum()
    for place in whole..<size { total += function(Vector(repeating: source[place]))[0] }
    return total
  }
}
