import CKernels
import Models

/// A convolution or product of FP32 on matrix units, with bias, residual and activation.
///
/// Operands: input, packed weights, bias, residual if there is one, output. The output may be the
/// residual's memory.
struct MatrixUnitKernel: Kernel {
  private let convolution: kernels_convolution
  private let threads: Int
  /// Where the numbers of each step lie from a pixel on, in bytes.
  private let offsets: [Int32]

  /// Completes a convolution for so many threads.
  init(_ convolution: kernels_convolution, threads: Int) {
    var convolution = convolution
    kernels_convolution_plan(&convolution, Int64(threads))
    offsets = [Int32](unsafeUninitializedCapacity: Int(convolution.steps)) { offsets, count in
      count = offsets.count
      if let start = offsets.baseAddress { kernels_convolution_offsets(&convolution, start) }
    }
    (self.convolution, self.threads) = (convolution, threads)
  }

  var scratch: Int { Int(convolution.scratch) * threads }

  /// Bytes of the packed weights.
  var weightBytes: Int {
    withUnsafePointer(to: convolution) { Int(kernels_convolution_weight_bytes($0)) }
  }

  /// Tells forms of packed weights apart.
  var weightForm: String {
    "matrix units \(convolution.steps) \(convolution.depth)"
  }

  /// Packs weights that lie with these distances from output to output, from input to input, and
  /// from pixel to pixel of the window.
  func pack(
    _ weights: UnsafePointer<Float>, strides: (output: Int, input: Int, pixel: Int),
    into packed: UnsafeMutableRawPointer
  ) {
    withUnsafePointer(to: convolution) {
      kernels_convolution_pack(
        $0, weights, Int64(strides.output), Int64(strides.input), Int64(strides.pixel),
        packed.assumingMemoryBound(to: UInt16.self))
    }
  }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    let parts = Int(convolution.strips * convolution.ranges)
    offsets.withUnsafeBufferPointer { offsets in
      guard let offsets = offsets.baseAddress else { return }
      let memory = kernels_convolution_memory(
        source: operands[0].assumingMemoryBound(to: Float.self),
        weights: operands[1].assumingMemoryBound(to: UInt16.self),
        bias: operands[2].assumingMemoryBound(to: Float.self),
        residual: operands.count > 4
          ? UnsafePointer(operands[3].assumingMemoryBound(to: Float.self)) : nil,
        target: operands[operands.count - 1].assumingMemoryBound(to: Float.self),
        offsets: offsets)
      OneDNN.parallel(atMost: threads) { thread, count in
        withUnsafePointer(to: convolution) { convolution in
          withUnsafePointer(to: memory) { memory in
            kernels_convolution_run(
              convolution, memory, Int64(parts * thread / count),
              Int64(parts * (thread + 1) / count),
              scratchpad + thread * Int(convolution.pointee.scratch))
          }
        }
      }
    }
  }
}
