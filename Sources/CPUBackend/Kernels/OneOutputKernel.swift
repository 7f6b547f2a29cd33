import CKernels
import Models

/// A transposed convolution to one channel, whose windows are as large as their steps and two
/// pixels wide, with bias and functions.
///
/// Operands: input in the blocked layout, weights [places, groups × 16], output in the plain
/// layout.
struct OneOutputKernel: Kernel {
  let samples: Int
  /// Groups of channels, rows and columns of the input.
  let groups: Int
  let height: Int
  let width: Int
  /// Rows of the window.
  let rows: Int
  let bias: Float
  let functions: kernels_functions

  var scratch: Int { 0 }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    let source = UnsafePointer(operands[0].assumingMemoryBound(to: Float.self))
    let weights = UnsafePointer(operands[1].assumingMemoryBound(to: Float.self))
    let target = operands[2].assumingMemoryBound(to: Float.self)
    let (work, block) = (samples * height, MemoryDescriptor.block)
    OneDNN.parallel { thread, threads in
      for index in work * thread / threads..<work * (thread + 1) / threads {
        let (sample, row) = index.quotientAndRemainder(dividingBy: height)
        var one = kernels_one_output(
          source: source + (sample * groups * height + row) * width * block,
          groups: Int64(groups), group_distance: Int64(height * width * block),
          width: Int64(width), weights: weights, window_height: Int64(rows), bias: bias,
          functions: functions, target: target + index * rows * 2 * width)
        kernels_one_output_row(&one, Processor.hasWideVectors)
      }
    }
  }
}
