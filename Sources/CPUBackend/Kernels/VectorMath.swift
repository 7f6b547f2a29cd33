/// Functions of sixteen numbers at once.
enum VectorMath {
  typealias Vector = SIMD16<Float>

  /// e to the power of each number, to 2e-7 of it; 0 below -87, where FP32 has subnormal numbers.
  ///
  /// 2 to a whole power times a polynomial (Moshier's, Cephes library) of what is left.
  @inline(__always)
  static func exp(_ x: Vector) -> Vector {
    let bounded = x.replacing(with: 88.3, where: x .> 88.3)
    // Adding 1.5·2^23 rounds to a whole number, which then stands in the lowest bits.
    let shifter = Vector(repeating: 12_582_912)
    let shifted = shifter.addingProduct(bounded, Vector(repeating: 1.442_695_04))
    let whole = shifted - shifter
    var rest = bounded.addingProduct(whole, Vector(repeating: -0.693_359_375))
    rest.addProduct(whole, Vector(repeating: 2.121_944_4e-4))
    var sum = Vector(repeating: 1.987_569_15e-4)
    for factor: Float in [
      1.398_199_95e-3, 8.333_451_9e-3, 4.166_579_6e-2, 1.666_666_55e-1, 5.000_000_1e-1,
    ] {
      sum = Vector(repeating: factor).addingProduct(sum, rest)
    }
    let fraction = (rest + 1).addingProduct(sum * rest, rest)
    let exponent = unsafeBitCast(shifted, to: SIMD16<Int32>.self) &+ 127
    let power = unsafeBitCast(exponent &<< 23, to: Vector.self)
    return (fraction * power).replacing(with: 0, where: x .< -87.3)
  }

  /// 1 / (1 + e^-x).
  @inline(__always)
  static func sigmoid(_ x: Vector) -> Vector { 1 / (1 + exp(-x)) }

  /// The hyperbolic tangent, to 2e-7.
  @inline(__always)
  static func tanh(_ x: Vector) -> Vector {
    let bounded = x.clamped(lowerBound: Vector(repeating: -20), upperBound: Vector(repeating: 20))
    return 1 - 2 / (exp(bounded + bounded) + 1)
  }

  @inline(__always)
  static func load(_ place: UnsafePointer<Float>) -> Vector {
    UnsafeRawPointer(place).loadUnaligned(as: Vector.self)
  }

  @inline(__always)
  static func store(_ values: Vector, _ place: UnsafeMutablePointer<Float>) {
    UnsafeMutableRawPointer(place).storeBytes(of: values, as: Vector.self)
  }
}
