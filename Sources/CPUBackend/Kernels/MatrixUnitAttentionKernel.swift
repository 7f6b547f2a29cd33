import CKernels
import Models
import Vocabulary

/// softmax(Q·Kᵀ·scale + mask)·V with both products on matrix units.
///
/// Operands: queries, keys, values, a mask if there is one, output; in the plain layout, the mask
/// in FP32 and the others in FP32 or BF16.
struct MatrixUnitAttentionKernel: Kernel {
  private let attention: kernels_attention
  /// Where the mask begins for each head; empty for no mask.
  private let maskStarts: [Int64]
  private let threads: Int

  /// - Parameters:
  ///   - types: Of queries, keys and values, and of the output.
  ///   - pieces: Numbers of BF16 as whose sum each element goes in.
  init(
    _ shape: AttentionShape, types: (sources: [ElementType], target: ElementType), pieces: Int,
    threads: Int
  ) {
    func isHalf(_ type: ElementType) -> Int32 { type == .bfloat16 ? 1 : 0 }
    attention = kernels_attention(
      heads: Int64(shape.heads), queries: Int64(shape.queries), keys: Int64(shape.keys),
      depth: Int64(shape.depth), value_depth: Int64(shape.valueDepth), scale: shape.scale,
      pieces: Int32(pieces), queries_are_half: isHalf(types.sources[0]),
      keys_are_half: isHalf(types.sources[1]), values_are_half: isHalf(types.sources[2]),
      target_is_half: isHalf(types.target), mask_query: Int64(shape.mask?.query ?? 0),
      mask_key: Int64(shape.mask?.key ?? 0))
    maskStarts = shape.mask?.heads.map(Int64.init) ?? []
    self.threads = threads
  }

  private var threadScratch: Int {
    withUnsafePointer(to: attention) { (Int(kernels_attention_scratch($0)) + 63) & ~63 }
  }

  var scratch: Int { threadScratch * threads }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    let size = threadScratch
    let parts = withUnsafePointer(to: attention) { Int(kernels_attention_parts($0)) }
    maskStarts.withUnsafeBufferPointer { starts in
      let mask = starts.isEmpty ? nil : operands[3].assumingMemoryBound(to: Float.self)
      let memory = kernels_attention_memory(
        queries: operands[0], keys: operands[1], values: operands[2], mask: mask,
        mask_starts: starts.baseAddress, target: operands[operands.count - 1])
      OneDNN.parallel(atMost: threads) { thread, count in
        withUnsafePointer(to: attention) { attention in
          withUnsafePointer(to: memory) { memory in
            kernels_attention_run(
              attention, memory, Int64(parts * thread / count),
              Int64(parts * (thread + 1) / count), scratchpad + thread * size)
          }
        }
      }
    }
  }
}
