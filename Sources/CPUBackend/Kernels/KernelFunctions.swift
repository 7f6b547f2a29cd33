import CKernels
import COneDNN

extension kernels_functions {
  /// Functions of one number that follow each other; nil where the kernels do not know them all.
  init?(_ functions: [Activation]) {
    self.init()
    let known = functions.compactMap(\.kernelFunction)
    let stride = MemoryLayout<kernels_function>.stride
    guard known.count == functions.count, known.count <= MemoryLayout.size(ofValue: each) / stride
    else { return nil }
    count = Int64(known.count)
    withUnsafeMutableBytes(of: &each) { bytes in
      for (place, function) in known.enumerated() {
        bytes.storeBytes(of: function, toByteOffset: place * stride, as: kernels_function.self)
      }
    }
  }
}

extension kernels_elements {
  /// A function of one number; nil where the kernel does not know it.
  init?(_ function: Activation) {
    self.init()
    if let known = function.kernelFunction {
      (kind, self.function) = (KERNELS_APPLY, known)
      return
    }
    switch function.algorithm {
    case dnnl_eltwise_tanh: kind = KERNELS_TANH
    case dnnl_eltwise_sqrt: kind = KERNELS_SQUARE_ROOT
    case dnnl_eltwise_abs: kind = KERNELS_ABSOLUTE
    case dnnl_eltwise_square: kind = KERNELS_SQUARE
    default: return nil
    }
  }

  /// Arithmetic of two numbers; nil where the kernel does not know it.
  init?(_ algorithm: dnnl_alg_kind_t) {
    self.init()
    switch algorithm {
    case dnnl_binary_add: kind = KERNELS_ADD
    case dnnl_binary_sub: kind = KERNELS_SUBTRACT
    case dnnl_binary_mul: kind = KERNELS_MULTIPLY
    case dnnl_binary_div: kind = KERNELS_DIVIDE
    default: return nil
    }
  }
}

extension Activation {
  fileprivate var kernelFunction: kernels_function? {
    let kind: kernels_function_kind? =
      switch algorithm {
      case dnnl_eltwise_linear: KERNELS_LINE
      case dnnl_eltwise_clip: KERNELS_CLIP
      case dnnl_eltwise_relu: KERNELS_RELU
      case dnnl_eltwise_hardswish: KERNELS_HARD_SWISH
      case dnnl_eltwise_logistic: KERNELS_LOGISTIC
      case dnnl_eltwise_swish: KERNELS_SWISH
      case dnnl_eltwise_gelu_erf: KERNELS_GELU
      case dnnl_eltwise_gelu_tanh: KERNELS_GELU_TANH
      default: nil
      }
    return kind.map { kernels_function(kind: $0, alpha: alpha, beta: beta) }
  }
}
