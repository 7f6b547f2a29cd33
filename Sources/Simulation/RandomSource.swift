/// A seeded stream of random numbers: SplitMix64, and the distributions that arrivals need.
///
/// Everything random in a simulation comes from one of these, so a seed repeats it exactly.
public struct RandomSource: Sendable {
  private var state: UInt64

  /// A stream of its own for each seed.
  public init(seed: UInt64) { state = seed }

  /// The next 64 bits (Steele, Lea and Flood, OOPSLA 2014).
  public mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }

  /// A number in 0..<1.
  public mutating func uniform() -> Double { Double(next() >> 11) * 0x1p-53 }

  /// A whole number in 0..<bound.
  public mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(max(bound, 1))) }

  /// True with a probability.
  public mutating func chance(_ probability: Double) -> Bool { uniform() < probability }

  /// Exponential with a mean.
  public mutating func exponential(mean: Double) -> Double {
    -mean * naturalLogarithm(1 - uniform())
  }

  /// Standard normal, by the polar method of Marsaglia.
  mutating func normal() -> Double {
    while true {
      let (x, y) = (2 * uniform() - 1, 2 * uniform() - 1)
      let square = x * x + y * y
      guard square > 0, square < 1 else { continue }
      return x * (-2 * naturalLogarithm(square) / square).squareRoot()
    }
  }

  /// Gamma with a shape and a mean (Marsaglia and Tsang 2000; for shapes below 1 their boost).
  mutating func gamma(shape: Double, mean: Double) -> Double {
    guard shape >= 1 else {
      let boost = exponentialFunction(naturalLogarithm(max(uniform(), 1e-300)) / shape)
      return gamma(shape: shape + 1, mean: mean * (shape + 1) / shape) * boost
    }
    let d = shape - 1 / 3.0
    let c = 1 / (9 * d).squareRoot()
    while true {
      let x = normal()
      let cube = 1 + c * x
      guard cube > 0 else { continue }
      let v = cube * cube * cube
      if naturalLogarithm(max(uniform(), 1e-300)) < 0.5 * x * x + d - d * v
        + d * naturalLogarithm(v)
      {
        return d * v * mean / shape
      }
    }
  }
}

/// The natural logarithm of a positive number, without a mathematics library: 2 artanh of the
/// significand, whose series converges fast between √½ and √2.
func naturalLogarithm(_ value: Double) -> Double {
  guard value > 0 else { return -.infinity }
  var (exponent, significand) = (Double(value.exponent), value.significand)
  if significand > 1.4142135623730951 { (exponent, significand) = (exponent + 1, significand / 2) }
  let ratio = (significand - 1) / (significand + 1)
  let square = ratio * ratio
  var (term, sum) = (ratio, 0.0)
  for odd in stride(from: 1.0, through: 23, by: 2) {
    sum += term / odd
    term *= square
  }
  return 2 * sum + exponent * 0.6931471805599453
}

/// e to a power, without a mathematics library.
func exponentialFunction(_ power: Double) -> Double {
  guard power > -700 else { return 0 }
  let halvings = 10
  let small = power / Double(1 << halvings)
  var (term, sum) = (1.0, 1.0)
  for factor in 1...12 {
    term *= small / Double(factor)
    sum += term
  }
  for _ in 0..<halvings { sum *= sum }
  return sum
}
