import COneDNN
import Models
import Vocabulary

extension Lowering {
  /// What a fused node does after its sum; nil where oneDNN does not know the activation.
  func postOperations(_ node: Node, addsResidual: Bool) -> PostOperations? {
    let name = node.string("activation", default: "")
    let steps = Activation.steps(
      name, alpha: node.float("alpha", default: Activation.defaultAlpha(name)),
      beta: node.float("beta", default: name == "Clip" ? .greatestFiniteMagnitude : 0.5))
    guard var all = name.isEmpty ? [] : steps else { return nil }
    let (scale, shift) = (node.float("scale", default: 1), node.float("shift", default: 0))
    if (scale, shift) != (1, 0) {
      // oneDNN takes the parameters of the first of two functions of one kind for both.
      if name == "HardSigmoid" {
        let (a, b) = (all[0].alpha * scale, all[0].beta * scale + shift)
        all = [
          Activation(algorithm: dnnl_eltwise_linear, alpha: a, beta: b),
          Activation(
            algorithm: dnnl_eltwise_clip, alpha: min(shift, scale + shift),
            beta: max(shift, scale + shift)),
        ]
      } else {
        all.append(Activation(algorithm: dnnl_eltwise_linear, alpha: scale, beta: shift))
      }
    }
    return PostOperations(
      addsToDestination: addsResidual, activation: all.first, further: Array(all.dropFirst()))
  }
}

extension PostOperations {
  /// The functions that follow the sum, in their order.
  var functions: [Activation] { (activation.map { [$0] } ?? []) + further }

  /// Whether zeros stay zeros.
  var keepsZero: Bool { functions.allSatisfy(\.keepsZero) }

  /// Whether nothing but Relu follows, or nothing at all.
  var isPlainRelu: Bool {
    further.isEmpty
      && activation.map { $0.algorithm == dnnl_eltwise_relu && $0.alpha == 0 } ?? true
  }
}

extension PostOperations {
  /// Whether Swish follows, and nothing else.
  var isSwish: Bool { further.isEmpty && activation?.algorithm == dnnl_eltwise_swish }
}

extension Activation {
  /// oneDNN's form of an ONNX activation: functions to be applied one after the other.
  static func steps(_ name: String, alpha: Float = 0, beta: Float = 0) -> [Activation]? {
    guard name != "HardSigmoid" else {
      return [
        Activation(algorithm: dnnl_eltwise_linear, alpha: alpha, beta: beta),
        Activation(algorithm: dnnl_eltwise_clip, alpha: 0, beta: 1),
      ]
    }
    return named(name, alpha: alpha, beta: beta).map { [$0] }
  }

  /// oneDNN's function for an ONNX activation that is one of its functions.
  static func named(_ name: String, alpha: Float = 0, beta: Float = 0) -> Activation? {
    switch name {
    case "Relu": Activation(algorithm: dnnl_eltwise_relu)
    case "LeakyRelu": Activation(algorithm: dnnl_eltwise_relu, alpha: alpha)
    case "Clip": Activation(algorithm: dnnl_eltwise_clip, alpha: alpha, beta: beta)
    case "Sigmoid": Activation(algorithm: dnnl_eltwise_logistic)
    case "Silu": Activation(algorithm: dnnl_eltwise_swish, alpha: 1)
    case "Swish": Activation(algorithm: dnnl_eltwise_swish, alpha: alpha)
    case "Tanh": Activation(algorithm: dnnl_eltwise_tanh)
    case "Gelu": Activation(algorithm: dnnl_eltwise_gelu_erf)
    case "GeluTanh": Activation(algorithm: dnnl_eltwise_gelu_tanh)
    case "HardSwish": Activation(algorithm: dnnl_eltwise_hardswish)
    case "Elu": Activation(algorithm: dnnl_eltwise_elu, alpha: alpha)
    case "Mish": Activation(algorithm: dnnl_eltwise_mish)
    case "Exp": Activation(algorithm: dnnl_eltwise_exp)
    case "Abs": Activation(algorithm: dnnl_eltwise_abs)
    case "Sqrt": Activation(algorithm: dnnl_eltwise_sqrt)
    case "Round": Activation(algorithm: dnnl_eltwise_round)
    case "Neg": Activation(algorithm: dnnl_eltwise_linear, alpha: -1)
    default: nil
    }
  }

  /// Whether zeros stay zeros.
  var keepsZero: Bool {
    switch algorithm {
    case dnnl_eltwise_logistic, dnnl_eltwise_exp, dnnl_eltwise_log: false
    case dnnl_eltwise_linear: beta == 0
    case dnnl_eltwise_clip: alpha <= 0 && beta >= 0
    default: true
    }
  }

  /// What ONNX takes where the attribute is left out.
  static func defaultAlpha(_ name: String) -> Float {
    switch name {
    case "LeakyRelu": 0.01
    case "Clip": -.greatestFiniteMagnitude
    case "Elu", "Swish": 1
    case "HardSigmoid": 0.2
    default: 0
    }
  }
}
