import CKernels
import COneDNN

/// What this processor can do, as far as kernels are chosen by it: the one place that names
/// instruction sets.
enum Processor {
  /// Whether it multiplies matrices of BF16 and of 8-bit integers in one instruction (AMX),
  /// and the kernel lets us.
  static let hasMatrixUnits = has(.matrixUnits) && kernels_ask_for_matrix_units()
  /// Whether it computes in BF16 without a detour over FP32.
  static let hasBFloat16 = has(.bfloat16)
  /// Whether it sums products of 8-bit integers without losing any (VNNI): kernels for x86
  /// processors without it add pairs of them in 16 bits, which overflow.
  static let sumsExactly = has(.exactSums)
  /// Channels in a group of the blocked layout: a vector of FP32.
  static let block = hasWideVectors ? 16 : 8
  /// Whether it has vectors of 64 bytes (AVX-512).
  static let hasWideVectors = has(.wideVectors)
  /// A number that tells oneDNN's sets of kernels apart.
  static let instructions = UInt32(dnnl_get_effective_cpu_isa().rawValue)

  private enum Feature {
    case wideVectors
    case bfloat16
    case matrixUnits
    case exactSums
  }

  private static func has(_ feature: Feature) -> Bool {
    #if arch(x86_64)
      let sets =
        switch feature {
        case .wideVectors: [dnnl_cpu_isa_avx512_core]
        case .bfloat16: [dnnl_cpu_isa_avx512_core_bf16]
        case .matrixUnits: [dnnl_cpu_isa_avx512_core_amx]
        case .exactSums: [dnnl_cpu_isa_avx512_core_vnni, dnnl_cpu_isa_avx2_vnni]
        }
      return sets.contains { instructions & UInt32($0.rawValue) == UInt32($0.rawValue) }
    #else
      // Elsewhere oneDNN's integer kernels widen before they add.
      return feature == .exactSums
    #endif
  }
}
