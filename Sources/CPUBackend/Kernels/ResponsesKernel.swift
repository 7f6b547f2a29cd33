import CKernels
import Models

/// Local response normalisation (Krizhevsky and others, 2012) where channels lie side by side.
///
/// Operands: input, output.
struct ResponsesKernel: Kernel {
  /// Pixels of all samples.
  let pixels: Int
  let channels: Int
  /// Channels whose squares count.
  let size: Int
  let factor: Float
  let bias: Float
  /// Whether numbers are BF16 instead of FP32.
  let isHalf: Bool

  var scratch: Int { 0 }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    let pixel = channels * (isHalf ? 2 : 4)
    OneDNN.parallel { thread, threads in
      let range = pixels * thread / threads..<pixels * (thread + 1) / threads
      var responses = kernels_responses(
        source: operands[0] + range.lowerBound * pixel,
        target: operands[1] + range.lowerBound * pixel, pixels: Int64(range.count),
        channels: Int64(channels), size: Int64(size), factor: factor, bias: bias,
        is_half: isHalf ? 1 : 0)
      let bytes = Int(kernels_responses_memory(&responses)) * 4
      withUnsafeTemporaryAllocation(byteCount: bytes, alignment: 64) { memory in
        let memory = memory.baseAddress?.assumingMemoryBound(to: Float.self)
        kernels_responses_run(&responses, memory, Processor.hasWideVectors)
      }
    }
  }
}
