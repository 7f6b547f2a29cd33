import CKernels
import COneDNN
import Models
import Reference

/// A convolution of each channel with its own window, in BF16 with channels side by side, and an
/// activation after it.
///
/// Operands: input, packed weights and biases, output.
struct DepthwiseSideBySideKernel: Kernel {
  private let depthwise: kernels_depthwise
  private let samples: Int

  /// Prepares for a convolution with a channel in each group; nil where there is no loop for it.
  init?(_ shape: ConvolutionShape) {
    let (input, output, window) = (shape.input, shape.output, shape.window)
    guard shape.isDepthwise, input.count == 4, window.dilations == [1, 1],
      !shape.post.addsToDestination, let functions = kernels_functions(shape.post.functions)
    else { return nil }
    var depthwise = kernels_depthwise()
    depthwise.channels = Int64(input[1])
    (depthwise.height, depthwise.width) = (Int64(input[2]), Int64(input[3]))
    (depthwise.made_height, depthwise.made_width) = (Int64(output[2]), Int64(output[3]))
    (depthwise.window_height, depthwise.window_width) = (
      Int64(window.kernel[0]), Int64(window.kernel[1])
    )
    (depthwise.step_down, depthwise.step_right) = (
      Int64(window.strides[0]), Int64(window.strides[1])
    )
    (depthwise.top, depthwise.left) = (Int64(window.before[0]), Int64(window.before[1]))
    depthwise.functions = functions
    guard withUnsafePointer(to: depthwise, { kernels_depthwise_fits($0) }) else { return nil }
    (self.depthwise, samples) = (depthwise, input[0])
  }

  var scratch: Int { 0 }

  /// Numbers of packed weights and biases.
  var weightCount: Int {
    withUnsafePointer(to: depthwise) { Int(kernels_depthwise_weight_count($0)) }
  }

  /// Packs weights of shape [channels, window] and, where there are some, biases.
  func pack(
    _ weights: UnsafePointer<Float>, _ biases: UnsafePointer<Float>?,
    into packed: UnsafeMutablePointer<Float>
  ) {
    withUnsafePointer(to: depthwise) { kernels_depthwise_pack($0, weights, biases, packed) }
  }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    let rows = Int(depthwise.made_height)
    let work = samples * rows
    OneDNN.parallel { thread, threads in
      let share = work * thread / threads..<work * (thread + 1) / threads
      guard !share.isEmpty else { return }
      for sample in share.lowerBound / rows...(share.upperBound - 1) / rows {
        let made = share.clamped(to: sample * rows..<(sample + 1) * rows)
        let memory = memory(of: sample, operands)
        withUnsafePointer(to: depthwise) { depthwise in
          withUnsafePointer(to: memory) { memory in
            kernels_depthwise_rows(
              depthwise, memory, Int64(made.lowerBound - sample * rows),
              Int64(made.upperBound - sample * rows))
          }
        }
      }
    }
  }

  /// Where the numbers of one sample lie.
  private func memory(
    of sample: Int, _ operands: [UnsafeMutableRawPointer]
  ) -> kernels_depthwise_memory {
    let read = Int(depthwise.height * depthwise.width * depthwise.channels)
    let made = Int(depthwise.made_height * depthwise.made_width * depthwise.channels)
    return kernels_depthwise_memory(
      source: UnsafeRawPointer(operands[0] + sample * read * 2),
      weights: UnsafePointer(operands[1].assumingMemoryBound(to: Float.self)),
      target: operands[2] + sample * made * 2)
  }
}
