import CKernels
import COneDNN
import Models

/// A 1×1 convolution of BF16 on matrix units where channels lie side by side, with bias, residual
/// and activation.
///
/// Operands: input, packed weights, bias, residual if there is one, output. The output may be the
/// residual's memory.
struct PointwiseKernel: Kernel {
  private let product: kernels_pointwise
  private let threads: Int

  /// Prepares for so many pixels of all samples.
  ///
  /// - Parameters:
  ///   - functions: What follows the sums.
  ///   - isHalf: Whether output and residual are BF16 instead of FP32.
  ///   - threads: How many threads may share the work.
  /// - Returns: nil where the kernel does not know the functions.
  init?(
    pixels: Int, inputs: Int, outputs: Int, functions: [Activation], isHalf: Bool, threads: Int
  ) {
    guard let known = kernels_functions(functions) else { return nil }
    var product = kernels_pointwise()
    (product.pixels, product.inputs, product.outputs) = (
      Int64(pixels), Int64(inputs), Int64(outputs)
    )
    (product.functions, product.target_is_half) = (known, isHalf)
    (self.product, self.threads) = (product, threads)
  }

  private var scratchOfThread: Int { Int(kernels_pointwise_scratch(product.inputs) + 63) & ~63 }

  var scratch: Int { scratchOfThread * threads }

  /// Bytes of the packed weights.
  var weightBytes: Int { Int(kernels_pointwise_weight_bytes(product.inputs, product.outputs)) }

  /// Packs weights that lie with these distances from output to output and from input to input.
  func pack(
    _ weights: UnsafePointer<Float>, strides: (output: Int, input: Int),
    into packed: UnsafeMutableRawPointer
  ) {
    kernels_pointwise_pack(
      product.inputs, product.outputs, weights, Int64(strides.output), Int64(strides.input),
      packed.assumingMemoryBound(to: UInt16.self))
  }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    let memory = kernels_pointwise_memory(
      source: UnsafeRawPointer(operands[0]),
      weights: UnsafePointer(operands[1].assumingMemoryBound(to: UInt16.self)),
      bias: UnsafePointer(operands[2].assumingMemoryBound(to: Float.self)),
      residual: operands.count > 4 ? UnsafeRawPointer(operands[3]) : nil,
      target: operands[operands.count - 1])
    OneDNN.parallel(atMost: threads) { thread, count in
      withUnsafePointer(to: product) { product in
        withUnsafePointer(to: memory) { memory in
          kernels_pointwise_run(
            product, memory, Int64(thread), Int64(count), scratchpad + thread * scratchOfThread)
        }
      }
    }
  }
}
