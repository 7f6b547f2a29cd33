import CKernels
import Models

/// x × logistic(alpha × x) of BF16 numbers, in their place.
///
/// Operands: the numbers, twice.
struct SwishKernel: Kernel {
  let count: Int
  let alpha: Float

  var scratch: Int { 0 }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    let numbers = operands[1].assumingMemoryBound(to: UInt16.self)
    // Whole lines of the cache, so that no two threads write to one.
    let line = 32
    let lines = (count + line - 1) / line
    OneDNN.parallel { thread, threads in
      let first = lines * thread / threads * line
      let last = min(lines * (thread + 1) / threads * line, count)
      if first < last { kernels_swish(numbers + first, Int64(last - first), alpha) }
    }
  }
}
