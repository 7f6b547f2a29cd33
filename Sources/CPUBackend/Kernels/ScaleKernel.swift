import Models

/// Scales and shifts each channel, and cuts at zero if asked to.
///
/// Operands: input, scales followed by shifts, output.
struct ScaleKernel: Kernel {
  private let outer: Int
  private let channels: Int
  private let plane: Int
  private let block: Int
  private let clampsAtZero: Bool

  /// - Parameters:
  ///   - shape: Samples, channels, then what shares a channel.
  ///   - block: Channels that lie side by side; 1 in the plain layout.
  init(shape: [Int], block: Int, clampsAtZero: Bool) {
    outer = shape[0]
    channels = shape[1]
    plane = shape[2...].reduce(1, *)
    self.block = block
    self.clampsAtZero = clampsAtZero
  }

  var scratch: Int { 0 }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    let source = operands[0].assumingMemoryBound(to: Float.self)
    let scales = operands[1].assumingMemoryBound(to: Float.self)
    let target = operands[2].assumingMemoryBound(to: Float.self)
    let floor: Float = clampsAtZero ? 0 : -.infinity
    let groups = (channels + block - 1) / block
    for sample in 0..<outer {
      for group in 0..<groups {
        let start = (sample * groups + group) * plane * block
        if block == 16, (group + 1) * 16 <= channels {
          vectors(source + start, scales + group * 16, target + start, floor)
        } else {
          scalars(source + start, scales, group * block, target + start, floor)
        }
      }
    }
  }

  private func vectors(
    _ source: UnsafeMutablePointer<Float>, _ scales: UnsafeMutablePointer<Float>,
    _ target: UnsafeMutablePointer<Float>, _ floor: Float
  ) {
    let scale = UnsafeRawPointer(scales).loadUnaligned(as: SIMD16<Float>.self)
    let shift = UnsafeRawPointer(scales + channels).loadUnaligned(as: SIMD16<Float>.self)
    let low = SIMD16<Float>(repeating: floor)
    for place in 0..<plane {
      let x = UnsafeRawPointer(source + place * 16).loadUnaligned(as: SIMD16<Float>.self)
      let y = x * scale + shift
      UnsafeMutableRawPointer(target + place * 16)
        .storeBytes(of: y.replacing(with: low, where: y .< low), as: SIMD16<Float>.self)
    }
  }

  /// Channels beyond the last one are padding and stay zero.
  private func scalars(
    _ source: UnsafeMutablePointer<Float>, _ scales: UnsafeMutablePointer<Float>, _ first: Int,
    _ target: UnsafeMutablePointer<Float>, _ floor: Float
  ) {
    for lane in 0..<block {
      let channel = first + lane
      let (scale, shift): (Float, Float) =
        channel < channels ? (scales[channel], scales[channels + channel]) : (0, 0)
      for place in 0..<plane {
        let index = place * block + lane
        let value = source[index] * scale + shift
        target[index] = channel < channels ? max(value, floor) : 0
      }
    }
  }
}
