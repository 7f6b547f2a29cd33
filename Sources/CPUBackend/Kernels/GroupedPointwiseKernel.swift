import CKernels
import Models

/// A 1×1 convolution whose groups do not fill vectors of channels: one small product for each
/// group, with bias, residual and Relu, in the plain layout.
///
/// Operands: input, weights, bias, residual if there is one, output. The output may be the
/// residual's memory.
struct GroupedPointwiseKernel: Kernel {
  /// Output channels whose weights lie side by side.
  static let tile = Int(kernels_tile())
  /// The least pixels that a plane must have: a vector.
  static let leastPlane = 16

  let samples: Int
  let groups: Int
  /// Channels of a group.
  let inputs: Int
  let outputs: Int
  let plane: Int
  let addsResidual: Bool
  let clampsAtZero: Bool
  /// Whether the input is BF16, and whether output and residual are, instead of FP32.
  var isHalf = (source: false, target: false)
  /// Whether to use vectors of 64 bytes.
  var isWide = Processor.hasWideVectors

  var scratch: Int { 0 }

  /// Floats of the packed weights: for each group and each tile of its output channels, all input
  /// channels, each with the weights of the tile's outputs side by side.
  var weightCount: Int { groups * tiles * inputs * Self.tile }

  private var tiles: Int { (outputs + Self.tile - 1) / Self.tile }

  /// Writes weights of shape [groups × outputs, inputs] in the order in which a run reads them.
  func pack(_ weights: UnsafeBufferPointer<Float>, into packed: UnsafeMutablePointer<Float>) {
    for group in 0..<groups {
      for output in 0..<tiles * Self.tile {
        let row = (group * outputs + output) * inputs
        let block = packed + (group * tiles + output / Self.tile) * inputs * Self.tile
        for input in 0..<inputs {
          block[input * Self.tile + output % Self.tile] =
            output < outputs ? weights[row + input] : 0
        }
      }
    }
  }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    let width = Int(kernels_strip_width(isWide))
    let strips = (plane + width - 1) / width
    let work = samples * groups * strips
    OneDNN.parallel { thread, threads in
      withUnsafeTemporaryAllocation(byteCount: inputs * width * 4, alignment: 64) { panel in
        let panel = panel.baseAddress?.assumingMemoryBound(to: Float.self)
        for index in work * thread / threads..<work * (thread + 1) / threads {
          let (part, strip) = index.quotientAndRemainder(dividingBy: strips)
          var product = product(operands, sample: part / groups, group: part % groups)
          kernels_product_strip(&product, Int64(strip * width), panel, isWide)
        }
      }
    }
  }

  /// The product of a group in one sample.
  private func product(
    _ operands: [UnsafeMutableRawPointer], sample: Int, group: Int
  ) -> kernels_product {
    let part = sample * groups + group
    let size = isHalf.target ? 2 : 4
    let place = part * outputs * plane * size
    let weights = operands[1].assumingMemoryBound(to: Float.self)
    let bias = operands[2].assumingMemoryBound(to: Float.self)
    return kernels_product(
      source: operands[0] + part * inputs * plane * (isHalf.source ? 2 : 4),
      weights: weights + group * tiles * inputs * Self.tile, bias: bias + group * outputs,
      residual: addsResidual ? UnsafeRawPointer(operands[3] + place) : nil,
      target: operands[operands.count - 1] + place, inputs: Int64(inputs),
      outputs: Int64(outputs), plane: Int64(plane), source_is_half: isHalf.source ? 1 : 0,
      target_is_half: isHalf.target ? 1 : 0, clamps: clampsAtZero ? 1 : 0)
  }
}
