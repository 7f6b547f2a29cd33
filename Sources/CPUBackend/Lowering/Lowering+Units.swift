import Models
import Vocabulary

/// On how many units a node runs: on all that the run has, or, when that is not worth the waiting
/// for each other, on one.
extension Lowering {
  /// Nanoseconds of one core below which a node is not shared out.
  ///
  /// Starting and ending a parallel loop takes 1 to 5 µs where all threads have a core, and
  /// milliseconds where one has not.
  static let leastSharedWork = 20_000.0

  /// Lowers a node for the units that its work is worth.
  mutating func lowerForItsWork(_ node: Node) throws(ModelError) {
    guard units > 1, work(node) < Self.leastSharedWork else { return try lower(node) }
    let first = steps.count
    // Kernels of oneDNN are cut for the threads that there are when they are made.
    nodeUnits = 1
    OneDNN.use(units: 1)
    defer {
      nodeUnits = units
      OneDNN.use(units: units)
    }
    try lower(node)
    for index in steps[first...].indices {
      steps[index].kernel = SerialKernel(kernel: steps[index].kernel, units: units)
    }
  }

  /// About the nanoseconds that a core takes for a node: what multiplies matrices makes 30 products
  /// a nanosecond, on matrix units 120 (small ones; large ones 200), and others read or write one
  /// element.
  private func work(_ node: Node) -> Double {
    let made = elements(node.outputs)
    let products = hasMatrixUnits ? 120.0 : 30.0
    switch node.operation {
    case "If", "Loop", "Scan": return .infinity
    case "Conv", "FusedConv", "ConvInteger", "QLinearConv", "ConvTranspose", "FusedConvTranspose":
      guard let weights = shapeOf(node, node.operation == "QLinearConv" ? 3 : 1) else {
        return .infinity
      }
      let isTransposed = node.operation.hasSuffix("ConvTranspose")
      let each = isTransposed ? elements(node.inputs.prefix(1)) : made
      return each + each * weights.dropFirst().reduce(1.0) { $0 * Double($1) } / products
    case "Gemm", "FusedGemm", "MatMul", "FusedMatMul", "MatMulInteger", "QLinearMatMul":
      return made + made * Double(shapeOf(node, 0)?.last ?? 1) / products
    case "LSTM", "GRU", "RNN":
      let steps = Double(shapeOf(node, 0)?.prefix(2).reduce(1, *) ?? 1)
      return made + steps * elements(node.inputs[1...2]) / 10
    case "Attention":
      return made + made * Double(shapeOf(node, 1)?.dropLast().last ?? 1) * 3 / products
    default: return made + elements(node.inputs[...])
    }
  }

  private func shapeOf(_ node: Node, _ input: Int) -> [Int]? {
    guard node.inputs.indices.contains(input), let id = node.inputs[input] else { return nil }
    return try? shape(id)
  }

  private func elements(_ values: some Sequence<ValueID?>) -> Double {
    values.reduce(0) { sum, id in
      sum + Double(id.flatMap { try? shape($0).elementCount } ?? 0)
    }
  }
}
