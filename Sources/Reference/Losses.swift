import Glibc
import Models
import Vocabulary

extension Reference {
  /// Losses, which some exported networks end in.
  static let losses: [String: Operator] = [
    "NegativeLogLikelihoodLoss": { (call) throws(ModelError) in
      [try likelihoodLoss(call, try call.input(0))]
    },
    "SoftmaxCrossEntropyLoss": { (call) throws(ModelError) in
      let x = try call.input(0)
      guard x.shape.count >= 2 else { throw call.error("scores need an axis of classes.") }
      let logarithms = alongAxis(x, 1) { line in
        let highest = line.max() ?? 0
        let sum = log(line.reduce(0) { $0 + exp($1 - highest) })
        return line.map { $0 - highest - sum }
      }
      let loss = try likelihoodLoss(call, logarithms)
      return call.node.outputs.count > 1 ? [loss, logarithms] : [loss]
    },
  ]

  /// Minus the logarithms of the right classes, weighted and reduced; axis 1 holds the classes.
  private static func likelihoodLoss(_ call: Call, _ x: Tensor) throws(ModelError) -> Tensor {
    let target = try call.input(1)
    guard x.shape.count >= 2, target.shape == [x.shape[0]] + x.shape[2...] else {
      throw call.error("classes \(target.shape) do not fit scores \(x.shape).")
    }
    let classes = x.shape[1]
    let inner = Array(x.shape[2...]).elementCount
    let (values, weights) = (x.reals(), call.optional(2)?.reals())
    var ignored: Int128?
    if case .int(let index)? = call.node.attributes["ignore_index"] { ignored = Int128(index) }
    var (losses, total) = ([Double](), 0.0)
    for (position, number) in target.integers().enumerated() {
      if number == ignored {
        losses.append(0)
        continue
      }
      let label = Int(clamping: number < 0 ? number + Int128(classes) : number)
      guard (0..<classes).contains(label), weights?.count ?? classes == classes else {
        throw call.error("class \(number) does not exist among \(classes).")
      }
      let weight = weights?[label] ?? 1
      let source = (position / inner * classes + label) * inner + position % inner
      losses.append(-values[source] * weight)
      total += weight
    }
    let sum = losses.reduce(0, +)
    switch call.node.string("reduction", default: "mean") {
    case "none": return .from(reals: losses, x.type, target.shape)
    case "sum": return .from(reals: [sum], x.type, [])
    default: return .from(reals: [sum / total], x.type, [])
    }
  }
}
