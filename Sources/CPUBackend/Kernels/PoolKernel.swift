import CKernels
import Models

/// The largest number of each window for each channel, or their average, where channels lie side by
/// side.
///
/// Operands: input, output.
struct PoolKernel: Kernel {
  /// Pictures: samples, or groups of channels of samples.
  let pictures: Int
  let channels: Int
  /// Rows and columns of input, output and window, steps from one window to the next, and what lies
  /// before the first pixel.
  let input: (rows: Int, columns: Int)
  let output: (rows: Int, columns: Int)
  let window: (rows: Int, columns: Int)
  let steps: (rows: Int, columns: Int)
  let before: (rows: Int, columns: Int)
  /// Whether numbers are BF16 instead of FP32.
  let isHalf: Bool
  /// Whether averages are wanted, of the pixels that are there.
  let averages: Bool

  var scratch: Int { 0 }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    let work = pictures * output.rows
    OneDNN.parallel { thread, threads in
      for index in work * thread / threads..<work * (thread + 1) / threads {
        let (picture, row) = index.quotientAndRemainder(dividingBy: output.rows)
        var pool = pool(operands, picture: picture, row: row)
        kernels_pool_row(&pool, Processor.hasWideVectors)
      }
    }
  }

  /// One row of windows.
  private func pool(
    _ operands: [UnsafeMutableRawPointer], picture: Int, row: Int
  ) -> kernels_pool {
    let pixel = channels * (isHalf ? 2 : 4)
    return kernels_pool(
      source: operands[0] + picture * input.rows * input.columns * pixel,
      target: operands[1] + (picture * output.rows + row) * output.columns * pixel,
      height: Int64(input.rows), width: Int64(input.columns), channels: Int64(channels),
      columns: Int64(output.columns), window_height: Int64(window.rows),
      window_width: Int64(window.columns), top: Int64(row * steps.rows - before.rows),
      left: Int64(-before.columns), step: Int64(steps.columns), is_half: isHalf ? 1 : 0,
      averages: averages ? 1 : 0)
  }
}
