import Models
import Vocabulary

/// QuantizeLinear, or DequantizeLinear, of a tensor whose slices of one axis may differ in scale.
///
/// Operands: input, output.
struct QuantizationKernel: Kernel {
  enum Direction: Sendable {
    case quantizing
    case dequantizing
    /// From 32-bit integers.
    case dequantizingSums
  }

  let direction: Direction
  /// The type of the 8-bit integers.
  let type: ElementType
  /// How often the slices come, how many there are, and the elements of each that lie together.
  let outer: Int
  let inner: Int
  /// One for each slice.
  let scales: [Float]
  let zeros: [Int32]

  var scratch: Int { 0 }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    guard scales.count > 1 else {
      Quantizing.share(outer * inner) { range in run(operands, range, slice: 0) }
      return
    }
    let lines = outer * scales.count
    Quantizing.share(lines, grain: max(1, Quantizing.grain / max(inner, 1))) { range in
      for line in range {
        run(operands, line * inner..<(line + 1) * inner, slice: line % scales.count)
      }
    }
  }

  private func run(_ operands: [UnsafeMutableRawPointer], _ range: Range<Int>, slice: Int) {
    let (scale, zero, first) = (scales[slice], zeros[slice], range.lowerBound)
    switch direction {
    case .quantizing:
      Quantizing.quantize(
        operands[0].assumingMemoryBound(to: Float.self) + first,
        operands[1].assumingMemoryBound(to: UInt8.self) + first, range.count, scale: scale,
        Quantizing.Target(zero: zero, type))
    case .dequantizing:
      Quantizing.dequantize(
        operands[0].assumingMemoryBound(to: UInt8.self) + first,
        operands[1].assumingMemoryBound(to: Float.self) + first, range.count, scale: scale,
        Quantizing.Source(zero: zero, isSigned: type == .int8))
    case .dequantizingSums:
      let from = operands[0].assumingMemoryBound(to: Int32.self)
      let to = operands[1].assumingMemoryBound(to: Float.self)
      // In double precision, because single holds 24 bits of 32.
      for index in range {
        to[index] = Float((Double(from[index]) - Double(zero)) * Double(scale))
      }
    }
  }
}

/// DynamicQuantizeLinear: scale and zero point are such that 0 and all elements fit into UINT8.
///
/// Operands: input, integers, scale, zero point.
struct DynamicQuantizationKernel: Kernel {
  let count: Int

  var scratch: Int { 0 }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    let from = UnsafePointer(operands[0].assumingMemoryBound(to: Float.self))
    let to = operands[1].assumingMemoryBound(to: UInt8.self)
    let (low, high) = bounds(from)
    // Zeros alone have no scale of their own: any will do.
    let scale = high > low ? (high - low) / 255 : 1
    let zero = min(max((-low / scale).rounded(.toNearestOrEven), 0), 255)
    operands[2].assumingMemoryBound(to: Float.self)[0] = scale
    operands[3].assumingMemoryBound(to: UInt8.self)[0] = UInt8(zero)
    let target = Quantizing.Target(zero: Int32(zero), .uint8)
    Quantizing.share(count) { range in
      Quantizing.quantize(
        from + range.lowerBound, to + range.lowerBound, range.count, scale: scale, target)
    }
  }

  /// The smallest and largest of the elements and 0, of eight lines side by side.
  private func bounds(_ from: UnsafePointer<Float>) -> (Float, Float) {
    var (low, high) = (SIMD8<Float>.zero, SIMD8<Float>.zero)
    var index = 0
    while index + 8 <= count {
      let values = UnsafeRawPointer(from + index).loadUnaligned(as: SIMD8<Float>.self)
      low.replace(with: values, where: values .< low)
      high.replace(with: values, where: values .> high)
      index += 8
    }
    var (lowest, highest) = (low.min(), high.max())
    while index < count {
      lowest = min(lowest, from[index])
      highest = max(highest, from[index])
      index += 1
    }
    return (lowest, highest)
  }
}

/// One of 256 elements for each 8-bit integer.
///
/// Operands: input, table, output.
struct LookupKernel: Kernel {
  let count: Int

  var scratch: Int { 0 }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    let from = operands[0].assumingMemoryBound(to: UInt8.self)
    let table = operands[1].assumingMemoryBound(to: UInt8.self)
    let to = operands[2].assumingMemoryBound(to: UInt8.self)
    Quantizing.share(count) { range in
      for index in range { to[index] = table[Int(from[index])] }
    }
  }
}

/// Sum or product of two quantised tensors of one shape.
///
/// Operands: the two, and the result.
struct QuantizedPairKernel: Kernel {
  struct Side: Sendable {
    var scale: Float
    var source: Quantizing.Source
  }

  let count: Int
  let left: Side
  let right: Side
  let multiplies: Bool
  let scale: Float
  let target: Quantizing.Target

  var scratch: Int { 0 }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    let bytes = operands.map { $0.assumingMemoryBound(to: UInt8.self) }
    let (a, b, to) = (bytes[0], bytes[1], bytes[2])
    Quantizing.share(count) { part in
      let first = part.lowerBound
      combine(a + first, b + first, to + first, part.count)
    }
  }

  /// Each number is rounded to single precision, as by the operators that this one replaces.
  @inline(never)
  private func combine(
    _ a: UnsafePointer<UInt8>, _ b: UnsafePointer<UInt8>, _ to: UnsafeMutablePointer<UInt8>,
    _ count: Int
  ) {
    // In variables of their own: what is written could be anything else for all compilers know.
    let (left, right, scale, target) = (left, right, scale, target)
    if multiplies {
      for index in 0..<count {
        let x = Float(left.source.centred(a[index])) * left.scale
        let y = Float(right.source.centred(b[index])) * right.scale
        to[index] = target.bits(x * y / scale)
      }
    } else {
      for index in 0..<count {
        let x = Float(left.source.centred(a[index])) * left.scale
        let y = Float(right.source.centred(b[index])) * right.scale
        to[index] = target.bits((x + y) / scale)
      }
    }
  }
}

/// The mean of each channel of a plane, with all channels of a pixel side by side.
///
/// Operands: input, output.
struct QuantizedMeanKernel: Kernel {
  let samples: Int
  let channels: Int
  let plane: Int
  let source: Quantizing.Source
  /// Of the scale of the input to that of the output.
  let ratio: Float
  let target: Quantizing.Target

  /// A sum for each channel.
  var scratch: Int { channels * 4 }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    let from = operands[0].assumingMemoryBound(to: UInt8.self)
    let to = operands[1].assumingMemoryBound(to: UInt8.self)
    let sums = scratchpad.assumingMemoryBound(to: Int32.self)
    for sample in 0..<samples {
      for channel in 0..<channels { sums[channel] = 0 }
      for pixel in sample * plane..<(sample + 1) * plane {
        let line = from + pixel * channels
        for channel in 0..<channels { sums[channel] &+= source.centred(line[channel]) }
      }
      for channel in 0..<channels {
        let mean = Float(sums[channel]) / Float(plane)
        to[sample * channels + channel] = target.bits(mean * ratio)
      }
    }
  }
}
