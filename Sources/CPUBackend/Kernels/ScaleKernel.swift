import CKernels
import Models

/// Scales and shifts each channel, and cuts at zero if asked to, in every layout.
///
/// Operands: input, scales followed by shifts, output. Both have a number for each channel, and
/// zeros for the padding of the last group of channels.
struct ScaleKernel: Kernel {
  /// What has the same channels: planes of one channel, groups of channels, or all pixels.
  private let parts: Int
  private let rows: Int
  private let columns: Int
  /// Parts that are one after another before the channels come again.
  private let period: Int
  private let shifts: Int
  private let isHalf: Bool
  private let clampsAtZero: Bool

  /// - Parameter shape: Samples, channels, then what shares a channel.
  init(shape: [Int], layout: Layout, isHalf: Bool, clampsAtZero: Bool) {
    let (samples, channels, plane) = (shape[0], shape[1], shape[2...].reduce(1, *))
    let block = MemoryDescriptor.block
    switch layout {
    case .plain: (period, rows, columns) = (channels, plane, 1)
    case .blocked: (period, rows, columns) = ((channels + block - 1) / block, plane, block)
    case .channelsLast: (period, rows, columns) = (1, plane, channels)
    }
    parts = samples * period
    shifts = Self.padded(channels)
    self.isHalf = isHalf
    self.clampsAtZero = clampsAtZero
  }

  /// The numbers that there are of scales, and of shifts.
  static func padded(_ channels: Int) -> Int { (channels + 15) & ~15 }

  var scratch: Int { 0 }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    // Rows are shared out, too: one sample may be one part.
    let slices = period > 1 ? 1 : min(rows, 64)
    let work = parts * slices
    OneDNN.parallel { thread, threads in
      for index in work * thread / threads..<work * (thread + 1) / threads {
        let (part, slice) = index.quotientAndRemainder(dividingBy: slices)
        scale(operands, part, rows * slice / slices..<rows * (slice + 1) / slices)
      }
    }
  }

  private func scale(_ operands: [UnsafeMutableRawPointer], _ part: Int, _ range: Range<Int>) {
    let scales = operands[1].assumingMemoryBound(to: Float.self) + part % period * columns
    let place = (part * rows + range.lowerBound) * columns * (isHalf ? 2 : 4)
    var scaling = kernels_scaling(
      source: operands[0] + place, factors: scales, addends: scales + shifts,
      target: operands[2] + place, rows: Int64(range.count), columns: Int64(columns),
      is_half: isHalf ? 1 : 0, clamps: clampsAtZero ? 1 : 0)
    kernels_scale(&scaling, Processor.hasWideVectors)
  }
}
