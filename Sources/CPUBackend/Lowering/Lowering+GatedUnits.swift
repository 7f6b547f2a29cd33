import Backend
import Compiler
import Models
import Vocabulary

extension Lowering {
  /// A GRU: one product for the inputs of all steps, then the steps.
  mutating func lowerGatedUnits(_ node: Node) throws(ModelError) -> Bool {
    guard let x = node.inputs[0], let w = node.inputs[1], let r = node.inputs[2],
      let weights = constant(w), let recurrence = constant(r), weights.type == .float32,
      constant(x) == nil, try type(x) == .float32, try shape(x).count == 3, isStandardCell(node),
      let main = node.outputs.compactMap({ $0 }).first
    else { return false }
    let given = node.inputs.count > 3 ? node.inputs[3] : nil
    guard given.map({ constant($0) != nil }) ?? true else { return false }
    let (input, hidden) = (try shape(x), recurrence.shape[2])
    let directions = directions(of: node)
    let columns = directions.count * 3 * hidden
    let bias = Self.parted(given.flatMap { constant($0) }, directions.count, hidden)
    guard weights.elementCount == columns * input[2], input.reduce(1, *) > 0,
      let gates = try lowerInputGates(x, (weights, w), bias.gates, main, columns)
    else { return false }
    var kernel = GatedUnitKernel(
      steps: input[0], samples: input[1], hidden: hidden, directions: directions,
      resetsSum: node.int("linear_before_reset", default: 0) != 0, before: nil, after: (nil, nil))
    let plain = kernel
    let packed = try model.weights.place(
      layer: layer, name: "\(r.index) recurrence", byteCount: plain.weightCount * 4
    ) { target in
      recurrence.withElements(as: Float.self) {
        plain.pack($0, into: target.assumingMemoryBound(to: Float.self))
      }
    }
    let added = try model.biasWeight(bias.hidden, r, count: directions.count * hidden, layer: layer)
    var operands: [Plan.Operand] = [
      .buffer(gates), .weight(WeightPointer(address: packed)), .weight(added),
    ]
    if node.inputs.count > 5, let first = node.inputs[5] {
      kernel.before = operands.count
      operands.append(try plainOperand(first))
    }
    var writes = 0
    for (place, id) in node.outputs.enumerated() {
      guard let id else { continue }
      if place == 0 {
        kernel.after.states = operands.count
      } else {
        kernel.after.state = operands.count
      }
      operands.append(.buffer(try makeBuffer(id, .plain)))
      writes += 1
    }
    steps.append(Plan.Step(kernel: kernel, operands: operands, writes: writes))
    return true
  }

  /// Biases [directions, 6 × hidden] without what the hidden gate adds to the sum over the state,
  /// and that alone.
  private static func parted(
    _ bias: Tensor?, _ directions: Int, _ hidden: Int
  ) -> (gates: Tensor?, hidden: Tensor?) {
    guard let bias else { return (nil, nil) }
    let values = bias.withElements(as: Float.self) { Array($0) }
    let gates = Tensor.make(.float32, [directions, 6 * hidden], as: Float.self) { elements in
      for place in elements.indices {
        elements[place] = place % (6 * hidden) < 5 * hidden ? values[place] : 0
      }
    }
    let last = Tensor.make(.float32, [directions * hidden], as: Float.self) { elements in
      for place in elements.indices {
        elements[place] = values[(place / hidden * 6 + 5) * hidden + place % hidden]
      }
    }
    return (gates, last)
  }
}
