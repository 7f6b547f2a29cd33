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
