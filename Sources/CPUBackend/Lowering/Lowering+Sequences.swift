import Backend
import COneDNN
import Compiler
import Models
import Vocabulary

extension Lowering {
  /// A value in the plain layout, or a constant as it is.
  mutating func plainOperand(_ id: ValueID) throws(ModelError) -> Plan.Operand {
    if let tensor = program.graph[id].constant {
      return .weight(try model.plainWeight(tensor, id, layer: layer))
    }
    return .buffer(try value(id, .plain))
  }

  /// An LSTM: one product for the inputs of all steps, then the steps.
  mutating func lowerMemoryCells(_ node: Node) throws(ModelError) -> Bool {
    guard let x = node.inputs[0], let w = node.inputs[1], let r = node.inputs[2],
      let weights = constant(w), let recurrence = constant(r), weights.type == .float32,
      constant(x) == nil, try type(x) == .float32, try shape(x).count == 3, isStandardCell(node),
      let main = node.outputs.compactMap({ $0 }).first
    else { return false }
    let bias = node.inputs.count > 3 ? node.inputs[3] : nil
    guard bias.map({ constant($0) != nil }) ?? true else { return false }
    let (input, hidden) = (try shape(x), recurrence.shape[2])
    let directions = directions(of: node)
    let columns = directions.count * 4 * hidden
    guard weights.elementCount == columns * input[2], input.reduce(1, *) > 0,
      let gates = try lowerInputGates(x, (weights, w), bias.flatMap { constant($0) }, main, columns)
    else { return false }
    return try lowerSteps(
      node, gates, recurrence, r,
      MemoryCellKernel(
        steps: input[0], samples: input[1], hidden: hidden, directions: directions,
        before: (nil, nil), after: (nil, nil, nil)))
  }

  /// For each direction of a recurrent node whether it begins with the last step.
  func directions(of node: Node) -> [Bool] {
    switch node.string("direction", default: "forward") {
    case "forward": [false]
    case "reverse": [true]
    default: [false, true]
    }
  }

  /// No lengths, no peepholes, no functions of its own.
  func isStandardCell(_ node: Node) -> Bool {
    let rare = [4, 7].contains { node.inputs.count > $0 && node.inputs[$0] != nil }
    return !rare && node.attributes["activations"] == nil && node.attributes["clip"] == nil
      && node.int("input_forget", default: 0) == 0 && node.int("layout", default: 0) == 0
  }

  /// W·x + Wb + Rb for all steps, samples and directions; the buffer that holds it.
  mutating func lowerInputGates(
    _ x: ValueID, _ weights: (tensor: Tensor, id: ValueID), _ bias: Tensor?, _ main: ValueID,
    _ columns: Int
  ) throws(ModelError) -> Int? {
    let input = try shape(x)
    let rows = input[0] * input[1]
    func primitive(_ weights: MemoryDescriptor, _ rows: Int) -> Primitive? {
      guard let x = MemoryDescriptor([rows, input[2]], .float32, .plain),
        let c = MemoryDescriptor([columns], .float32, .plain),
        let z = MemoryDescriptor([rows, columns], .float32, .plain)
      else { return nil }
      return Primitive(.innerProduct(source: x, weights: weights, bias: c, destination: z))
    }
    guard
      let form = try weightForm(main, [columns, input[2]], type: .float32, rows: rows, primitive),
      let chosen = primitive(form, rows),
      let from = MemoryDescriptor([rows, input[2]], .float32, .plain),
      let flat = MemoryDescriptor([columns], .float32, .plain),
      let to = MemoryDescriptor([rows, columns], .float32, .plain)
    else { return nil }
    let packed = try model.packedWeight(
      weights.tensor, weights.id, shape: [columns, input[2]], strides: [input[2], 1], as: form,
      layer: layer)
    let added = try model.biasWeight(
      bias.map { Self.joinedBias($0, columns) }, weights.id, count: columns, layer: layer)
    let source = try value(x, .plain)
    let gates = try newBuffer(main, [input[0], input[1], columns], .plain, .float32)
    append(
      chosen,
      [
        (DNNL.source, from, .buffer(source)), (DNNL.weights, form, .weight(packed)),
        (DNNL.bias, flat, .weight(added)), (DNNL.destination, to, .buffer(gates)),
      ], writes: 1)
    return gates
  }

  /// What is added to W·x and what to R·h, as one: [directions, 2, gates] summed over the middle.
  private static func joinedBias(_ bias: Tensor, _ columns: Int) -> Tensor {
    let rows = bias.shape.count > 1 ? bias.shape[1] / 2 : columns
    return bias.withElements(as: Float.self) { bias in
      Tensor.make(.float32, [columns], as: Float.self) { elements in
        for index in elements.indices {
          let place = index / rows * 2 * rows + index % rows
          elements[index] = bias[place] + bias[place + rows]
        }
      }
    }
  }

  private mutating func lowerSteps(
    _ node: Node, _ gates: Int, _ recurrence: Tensor, _ r: ValueID, _ plain: MemoryCellKernel
  ) throws(ModelError) -> Bool {
    let packed = try model.weights.place(
      layer: layer, name: "\(r.index) recurrence", byteCount: plain.weightCount * 4
    ) { target in
      recurrence.withElements(as: Float.self) {
        plain.pack($0, into: target.assumingMemoryBound(to: Float.self))
      }
    }
    var operands: [Plan.Operand] = [
      .buffer(gates), .weight(WeightPointer(address: packed)),
    ]
    var before: [Int?] = [nil, nil]
    for place in 0..<2 where node.inputs.count > 5 + place {
      guard let id = node.inputs[5 + place] else { continue }
      before[place] = operands.count
      operands.append(try plainOperand(id))
    }
    var after: [Int?] = [nil, nil, nil]
    var writes = 0
    for (place, id) in node.outputs.enumerated() {
      guard let id else { continue }
      after[place] = operands.count
      operands.append(.buffer(try makeBuffer(id, .plain)))
      writes += 1
    }
    let kernel = MemoryCellKernel(
      steps: plain.steps, samples: plain.samples, hidden: plain.hidden,
      directions: plain.directions, before: (before[0], before[1]),
      after: (after[0], after[1], after[2]))
    steps.append(Plan.Step(kernel: kernel, operands: operands, writes: writes))
    return true
  }
}
