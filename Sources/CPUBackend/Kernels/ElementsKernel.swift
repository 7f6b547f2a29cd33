import CKernels
import Models

/// Arithmetic or functions of few numbers, for which oneDNN's way to its kernels would take longer
/// than they do.
///
/// Operands: one input or two, then the output, all FP32 and of one layout.
struct ElementsKernel: Kernel {
  let elements: kernels_elements
  let count: Int

  var scratch: Int { 0 }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    withUnsafePointer(to: elements) { elements in
      kernels_elements_run(
        elements, operands[0].assumingMemoryBound(to: Float.self),
        operands[operands.count - 2].assumingMemoryBound(to: Float.self),
        operands[operands.count - 1].assumingMemoryBound(to: Float.self), Int64(count),
        Processor.hasWideVectors)
    }
  }
}
