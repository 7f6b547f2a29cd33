import Glibc
import Models
import Vocabulary

extension Reference {
  /// Steps of optimisers, which ONNX has as operators.
  static let training: [String: Operator] = [
    "ai.onnx.preview.training.Adagrad": optimiser(states: 1, adagrad),
    "ai.onnx.preview.training.Adam": optimiser(states: 2, adam),
    "ai.onnx.preview.training.Momentum": optimiser(states: 1, momentum),
  ]

  /// The learning rate, the number of steps before this one, and the node's constants.
  private struct Step {
    let rate: Double
    let count: Double
    let node: Node

    func constant(_ name: String, _ fallback: Float = 0) -> Double {
      Double(node.float(name, default: fallback))
    }
  }

  /// Changes one weight and what is remembered of it, by its gradient.
  private typealias Update = @Sendable (Step, inout Double, Double, inout [Double]) -> Void

  /// Inputs are rate, step, weights, gradients and states; outputs the new weights and states.
  private static func optimiser(states: Int, _ update: @escaping Update) -> Operator {
    { (call) throws(ModelError) in
      let step = Step(
        rate: try call.input(0).reals().first ?? 0, count: try call.input(1).reals().first ?? 0,
        node: call.node)
      let count = max(0, call.inputs.count - 2) / (2 + states)
      var outputs = [Tensor?](repeating: nil, count: count * (1 + states))
      for index in 0..<count {
        let weights = try call.input(2 + index)
        var values = weights.reals()
        let gradients = try call.input(2 + count + index).reals()
        var memories: [[Double]] = []
        for state in 0..<states {
          memories.append(try call.input(2 + (2 + state) * count + index).reals())
        }
        guard ([gradients] + memories).allSatisfy({ $0.count == values.count }) else {
          throw call.error("weights, gradients and states differ in shape.")
        }
        for place in values.indices {
          var memory = memories.map { $0[place] }
          update(step, &values[place], gradients[place], &memory)
          for state in 0..<states { memories[state][place] = memory[state] }
        }
        outputs[index] = .from(reals: values, weights.type, weights.shape)
        for state in 0..<states {
          outputs[(1 + state) * count + index] = .from(
            reals: memories[state], weights.type, weights.shape)
        }
      }
      return outputs
    }
  }

  /// Duchi, Hazan and Singer (2011).
  @Sendable private static func adagrad(
    _ step: Step, _ x: inout Double, _ gradient: Double, _ memory: inout [Double]
  ) {
    let rate = step.rate / (1 + step.count * step.constant("decay_factor"))
    let slope = step.constant("norm_coefficient") * x + gradient
    memory[0] += slope * slope
    x -= rate * slope / (memory[0].squareRoot() + step.constant("epsilon", 1e-6))
  }

  /// Kingma and Ba (2015).
  @Sendable private static func adam(
    _ step: Step, _ x: inout Double, _ gradient: Double, _ memory: inout [Double]
  ) {
    let (alpha, beta) = (step.constant("alpha", 0.9), step.constant("beta", 0.999))
    let slope = step.constant("norm_coefficient") * x + gradient
    memory[0] = alpha * memory[0] + (1 - alpha) * slope
    memory[1] = beta * memory[1] + (1 - beta) * slope * slope
    var rate = step.rate
    if step.count > 0 {
      rate *= (1 - pow(beta, step.count)).squareRoot() / (1 - pow(alpha, step.count))
    }
    x -= rate * memory[0] / (memory[1].squareRoot() + step.constant("epsilon", 1e-6))
    x *= 1 - step.constant("norm_coefficient_post")
  }

  /// Polyak (1964), or Nesterov (1983) in that mode.
  @Sendable private static func momentum(
    _ step: Step, _ x: inout Double, _ gradient: Double, _ memory: inout [Double]
  ) {
    let alpha = step.constant("alpha")
    let beta = step.count > 0 ? step.constant("beta") : 1
    let slope = step.constant("norm_coefficient") * x + gradient
    memory[0] = alpha * memory[0] + beta * slope
    let isNesterov = step.node.string("mode", default: "standard") == "nesterov"
    x -= step.rate * (isNesterov ? slope + alpha * memory[0] : memory[0])
  }
}
