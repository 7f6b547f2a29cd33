import CKernels
import Models

/// A convolution of each channel with its own window of 3×3 and a border of one zero, in the plain
/// layout: between kernels that know no other one it saves moving everything twice.
///
/// Operands: input, weights [channels, 9], bias, output.
struct DepthwiseKernel: Kernel {
  /// The least pixels that a plane must have: a vector.
  static let leastPlane = 16

  /// Channels of all samples, and of one.
  let planes: Int
  let channels: Int
  let height: Int
  let width: Int
  /// Pixels from one window to the next: 1 or 2.
  let step: Int
  let clampsAtZero: Bool
  /// Whether input and output are BF16 instead of FP32.
  var isHalf = (source: false, target: false)
  /// Whether to use vectors of 64 bytes.
  var isWide = Processor.hasWideVectors

  var scratch: Int { 0 }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    let (height, width) = (Int64(height), Int64(width))
    let bytes = Int(kernels_window_memory(height, width)) * 4
    OneDNN.parallel { thread, threads in
      withUnsafeTemporaryAllocation(byteCount: bytes, alignment: 64) { memory in
        let memory = memory.baseAddress?.assumingMemoryBound(to: Float.self)
        kernels_window_prepare(height, width, memory)
        for plane in planes * thread / threads..<planes * (thread + 1) / threads {
          var window = window(operands, plane)
          kernels_window_plane(&window, memory, isWide)
        }
      }
    }
  }

  /// The window over one channel of one sample.
  private func window(_ operands: [UnsafeMutableRawPointer], _ plane: Int) -> kernels_window {
    let channel = plane % channels
    let made = ((height - 1) / step + 1) * ((width - 1) / step + 1)
    return kernels_window(
      source: operands[0] + plane * height * width * (isHalf.source ? 2 : 4),
      weights: operands[1].assumingMemoryBound(to: Float.self) + channel * 9,
      bias: operands[2].assumingMemoryBound(to: Float.self)[channel],
      target: operands[3] + plane * made * (isHalf.target ? 2 : 4), height: Int64(height),
      width: Int64(width), step: Int64(step), source_is_half: isHalf.source ? 1 : 0,
      target_is_half: isHalf.target ? 1 : 0, clamps: clampsAtZero ? 1 : 0)
  }
}
