import Models
import Vocabulary

/// Real numbers to 8-bit integers and back, in loops that compilers make vectors of.
///
/// As ONNX defines it: the quotient by the scale is rounded to the nearest whole number, ties to
/// even, before the zero point is added; then it is cut to what the type holds.
enum Quantizing {
  /// Elements for which one thread is enough.
  static let grain = 16_384

  /// 8-bit integers that are read: their zero point, and whether they are signed.
  struct Source: Sendable {
    /// With the sign bit flipped, signed integers are unsigned ones that are 128 larger.
    let flip: UInt8
    let zero: Int32

    init(zero: Int32, isSigned: Bool) {
      flip = isSigned ? 0x80 : 0
      self.zero = isSigned ? zero + 128 : zero
    }

    /// An integer less the zero point.
    @inline(__always)
    func centred(_ bits: UInt8) -> Int32 { Int32(bits ^ flip) &- zero }
  }

  /// 8-bit integers that are written.
  struct Target: Sendable {
    let zero: Int32
    let lowest: Int32
    let highest: Int32

    /// - Parameter range: What an activation cuts numbers of steps to: as rounding keeps order, it
    ///   cuts what is rounded just as well.
    init(
      zero: Int32, _ type: ElementType,
      range: (low: Float, high: Float) = (-.infinity, .infinity)
    ) {
      self.zero = zero
      let bounds: ClosedRange<Int32> = type == .int8 ? -128...127 : 0...255
      func bound(_ steps: Float) -> Int32 {
        let whole = Int32(min(max(steps, -4096), 4096).rounded(.toNearestOrEven)) + zero
        return min(max(whole, bounds.lowerBound), bounds.upperBound)
      }
      (lowest, highest) = (bound(range.low), bound(range.high))
    }

    /// The bits of a number of steps, rounded and shifted.
    @inline(__always)
    func bits(_ steps: Float) -> UInt8 {
      // Nothing beyond ±4096 is within the bounds whatever the zero point. Comparisons are such
      // that processors have them.
      let below = steps < 4096 ? steps : 4096
      let bounded = below > -4096 ? below : -4096
      // Adding 1.5·2^23 rounds to a whole number, which then stands in the lowest bits.
      let shifted = bounded + 12_582_912
      let whole = Int32(bitPattern: shifted.bitPattern) &- 0x4B40_0000 &+ zero
      return UInt8(truncatingIfNeeded: min(max(whole, lowest), highest))
    }

    /// What becomes of what is not a number: nothing, as in `Reference`.
    var undefined: UInt8 { UInt8(truncatingIfNeeded: min(max(0, lowest), highest)) }
  }

  /// Calls the body with parts of a range, on all threads of the team where that pays off.
  static func share(_ count: Int, grain: Int = grain, _ body: (Range<Int>) -> Void) {
    guard count > grain else { return body(0..<count) }
    OneDNN.parallel { thread, threads in
      // Parts begin where a vector does.
      let parts = (count + 15) / 16
      let first = parts * thread / threads * 16
      let end = min(parts * (thread + 1) / threads * 16, count)
      if first < end { body(first..<end) }
    }
  }

  /// Quantises numbers that share scale and zero point.
  static func quantize(
    _ from: UnsafePointer<Float>, _ to: UnsafeMutablePointer<UInt8>, _ count: Int, scale: Float,
    _ target: Target
  ) {
    let undefined = target.undefined
    for index in 0..<count {
      let steps = from[index] / scale
      to[index] = steps == steps ? target.bits(steps) : undefined
    }
  }

  /// What integers stand for that share scale and zero point.
  static func dequantize(
    _ from: UnsafePointer<UInt8>, _ to: UnsafeMutablePointer<Float>, _ count: Int, scale: Float,
    _ source: Source
  ) {
    for index in 0..<count { to[index] = Float(source.centred(from[index])) * scale }
  }
}
