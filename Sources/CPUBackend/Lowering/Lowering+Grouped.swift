import Backend
import COneDNN
import Models
import Reference
import Vocabulary

/// Convolutions in groups with kernels of our own, in the plain layout.
extension Lowering {
  /// A 1×1 convolution in groups that do not fill vectors, for which oneDNN has only slow ways.
  mutating func lowerGroupedPointwise(
    _ node: Node, _ shape: ConvolutionShape, _ weights: Tensor
  ) throws(ModelError) -> Bool {
    let plane = shape.output[2...].reduce(1, *)
    let window = shape.window
    guard !shape.suitsBlocks, shape.input[2...] == shape.output[2...],
      (window.kernel + window.strides).allSatisfy({ $0 == 1 }),
      plane >= GroupedPointwiseKernel.leastPlane, let clampsAtZero = clamps(node, shape.post),
      let x = node.inputs[0], let w = node.inputs[1], let y = node.outputs[0]
    else { return false }
    let bias = node.inputs.count > 2 ? node.inputs[2] : nil
    let residual = node.inputs.count > 3 ? node.inputs[3] : nil
    // A residual is added in place, so its type is that of the output.
    let type = residual == nil ? storedType(y) : stored
    let kernel = GroupedPointwiseKernel(
      samples: shape.input[0], groups: shape.groups, inputs: shape.input[1] / shape.groups,
      outputs: shape.channels / shape.groups, plane: plane, addsResidual: residual != nil,
      clampsAtZero: clampsAtZero,
      isHalf: (stored == .bfloat16, type == .bfloat16))
    let packed = try model.weights.place(
      layer: layer, name: "\(w.index) tiles of \(GroupedPointwiseKernel.tile)",
      byteCount: kernel.weightCount * 4
    ) { target in
      weights.withElements(as: Float.self) {
        kernel.pack($0, into: target.assumingMemoryBound(to: Float.self))
      }
    }
    let added = try model.biasWeight(
      bias.flatMap { constant($0) }, bias ?? w, count: shape.channels, layer: layer)
    let source = try value(x, .plain, stored)
    var operands: [Plan.Operand] = [
      .buffer(source), .weight(WeightPointer(address: packed)), .weight(added),
    ]
    let elder = try residual.map { (id) throws(ModelError) in try value(id, .plain, type) }
    if let elder { operands.append(.buffer(elder)) }
    let target = try makeBuffer(y, .plain, type, successorOf: heirloom(elder, besides: source))
    operands.append(.buffer(target))
    steps.append(Plan.Step(kernel: kernel, operands: operands, writes: 1))
    return true
  }

  /// A window over each channel whose input lies in the plain layout, as grouped products leave it:
  /// oneDNN would have it moved to blocks, and what it makes moved back.
  mutating func lowerDepthwise(
    _ node: Node, _ shape: ConvolutionShape, _ weights: Tensor
  ) throws(ModelError) -> Bool {
    let (window, input) = (shape.window, shape.input)
    guard shape.isDepthwise, input.count == 4, window.kernel == [3, 3],
      window.strides == [1, 1] || window.strides == [2, 2], window.dilations == [1, 1],
      window.before == [1, 1], window.after.allSatisfy({ $0 <= 1 }),
      shape.output[2...] == [2, 3].map({ (input[$0] - 1) / window.strides[0] + 1 })[...],
      input[2] * input[3] >= DepthwiseKernel.leastPlane, input[1] >= MemoryDescriptor.block,
      let clampsAtZero = clamps(node, shape.post), !shape.post.addsToDestination,
      let x = node.inputs[0], let w = node.inputs[1], let y = node.outputs[0],
      try forms[home(x)].layout == .plain
    else { return false }
    let bias = node.inputs.count > 2 ? node.inputs[2] : nil
    let type = storedType(y)
    let kernel = DepthwiseKernel(
      planes: input[0] * input[1], channels: input[1], height: input[2], width: input[3],
      step: window.strides[0], clampsAtZero: clampsAtZero,
      isHalf: (stored == .bfloat16, type == .bfloat16))
    let packed = try model.plainWeight(weights, w, layer: layer)
    let added = try model.biasWeight(
      bias.flatMap { constant($0) }, bias ?? w, count: shape.channels, layer: layer)
    let source = try value(x, .plain, stored)
    let target = try makeBuffer(y, .plain, type)
    steps.append(
      Plan.Step(
        kernel: kernel,
        operands: [.buffer(source), .weight(packed), .weight(added), .buffer(target)], writes: 1))
    return true
  }

  /// Whether a Relu follows; nil where something does that kernels of our own do not know.
  private func clamps(_ node: Node, _ post: PostOperations) -> Bool? {
    let activation = node.string("activation", default: "")
    guard activation.isEmpty || activation == "Relu", post.further.isEmpty,
      activation.isEmpty == (post.activation == nil)
    else { return nil }
    return !activation.isEmpty
  }
}
