import Models

/// Lays pictures in the blocked layout side by side whose channels come in halves of groups.
///
/// Every group of the output is two halves, each of which lies in some group of an input.
///
/// Operands: the inputs, then the output.
struct HalfGroupConcatKernel: Kernel {
  /// Where eight channels lie: an input, a group of it, and which half of that.
  private struct Half: Sendable {
    var input: Int
    var group: Int
    var isUpper: Bool
  }

  private let samples: Int
  private let pixels: Int
  /// Groups of each input.
  private let groups: [Int]
  /// For each group of the output; nil where there are no channels.
  private let halves: [(lower: Half, upper: Half?)]
  private let halfBytes: Int

  /// Nil where an input other than the last one ends within half a group.
  ///
  /// - Parameters:
  ///   - shapes: The shapes of the inputs, which differ in the number of channels alone.
  ///   - elementSize: Bytes of a number: 2 or 4.
  init?(shapes: [[Int]], elementSize: Int) {
    let (block, half) = (MemoryDescriptor.block, MemoryDescriptor.block / 2)
    guard let first = shapes.first, shapes.dropLast().allSatisfy({ $0[1] % half == 0 }),
      elementSize == 2 || elementSize == 4
    else { return nil }
    samples = first[0]
    pixels = first[2...].reduce(1, *)
    groups = shapes.map { ($0[1] + block - 1) / block }
    halfBytes = half * elementSize
    let all = shapes.enumerated().flatMap { input, shape in
      (0..<(shape[1] + half - 1) / half).map {
        Half(input: input, group: $0 / 2, isUpper: $0 % 2 == 1)
      }
    }
    halves = stride(from: 0, to: all.count, by: 2).map { index in
      (all[index], index + 1 < all.count ? all[index + 1] : nil)
    }
  }

  var scratch: Int { 0 }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    let work = samples * halves.count
    OneDNN.parallel { thread, threads in
      for index in work * thread / threads..<work * (thread + 1) / threads {
        let (sample, group) = index.quotientAndRemainder(dividingBy: halves.count)
        fill(operands, sample, halves[group], operands[groups.count] + index * groupBytes)
      }
    }
  }

  private var groupBytes: Int { pixels * 2 * halfBytes }

  private func fill(
    _ operands: [UnsafeMutableRawPointer], _ sample: Int, _ group: (lower: Half, upper: Half?),
    _ target: UnsafeMutableRawPointer
  ) {
    func place(_ half: Half) -> UnsafeMutableRawPointer {
      operands[half.input] + (sample * groups[half.input] + half.group) * groupBytes
        + (half.isUpper ? halfBytes : 0)
    }
    let (lower, upper) = (place(group.lower), group.upper.map(place))
    if !group.lower.isUpper, upper == lower + halfBytes {
      target.copyMemory(from: lower, byteCount: groupBytes)
    } else if halfBytes == 32 {
      copy(lower, target, as: SIMD32<UInt8>.self)
      copy(upper, target + halfBytes, as: SIMD32<UInt8>.self)
    } else {
      copy(lower, target, as: SIMD16<UInt8>.self)
      copy(upper, target + halfBytes, as: SIMD16<UInt8>.self)
    }
  }

  /// Half a group of all pixels; zeros where there is none.
  private func copy<Lanes: SIMD>(
    _ source: UnsafeMutableRawPointer?, _ target: UnsafeMutableRawPointer, as: Lanes.Type
  ) where Lanes.Scalar == UInt8 {
    for pixel in 0..<pixels {
      let offset = pixel * 2 * halfBytes
      let half = source.map { ($0 + offset).loadUnaligned(as: Lanes.self) } ?? Lanes()
      (target + offset).storeBytes(of: half, as: Lanes.self)
    }
  }
}
