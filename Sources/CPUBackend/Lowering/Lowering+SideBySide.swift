import Backend
import COneDNN
import Models
import Reference
import Vocabulary

/// Convolutions of BF16 with kernels of our own where channels lie side by side.
extension Lowering {
  /// What tells in a pin that a kernel of our own was chosen.
  private static let own = "pointwise"

  /// A 1×1 convolution, which oneDNN packs in another form for each number of threads: where that
  /// differs it would fall back to kernels without matrix units.
  mutating func lowerPointwiseSideBySide(
    _ node: Node, _ shape: ConvolutionShape, _ weights: Tensor
  ) throws(ModelError) -> Bool {
    guard stored == .bfloat16, Processor.hasMatrixUnits, shape.isPointwise,
      let x = node.inputs[0], let w = node.inputs[1], let y = node.outputs[0]
    else { return false }
    let residual = node.inputs.count > 3 ? node.inputs[3] : nil
    let bias = node.inputs.count > 2 ? node.inputs[2] : nil
    // A residual is added in place, so its type is that of the output.
    let type = residual == nil ? storedType(y) : stored
    let inputs = shape.input[1]
    guard
      let kernel = PointwiseKernel(
        pixels: shape.input[0] * shape.input[2...].reduce(1, *), inputs: inputs,
        outputs: shape.channels, functions: shape.post.functions, isHalf: type == .bfloat16,
        threads: nodeUnits),
      try prefersOwn(shape, x, y)
    else { return false }
    let packed = try model.weights.place(
      layer: layer, name: "\(w.index) \(Self.own)", byteCount: kernel.weightBytes
    ) { target in
      kernel.pack(
        weights.storage.source.assumingMemoryBound(to: Float.self), strides: (inputs, 1),
        into: target)
      model.letGoWhileLoading(weights)
    }
    let added = try model.biasWeight(
      bias.flatMap { constant($0) }, bias ?? w, count: shape.channels, layer: layer)
    let source = try value(x, .channelsLast, stored)
    var operands: [Plan.Operand] = [
      .buffer(source), .weight(WeightPointer(address: packed)), .weight(added),
    ]
    let elder = try residual.map { (id) throws(ModelError) in try value(id, .channelsLast, type) }
    if let elder { operands.append(.buffer(elder)) }
    let target = try makeBuffer(
      y, .channelsLast, type, successorOf: heirloom(elder, besides: source))
    operands.append(.buffer(target))
    steps.append(Plan.Step(kernel: kernel, operands: operands, writes: 1))
    return true
  }

  /// A window over each channel.
  mutating func lowerDepthwiseSideBySide(
    _ node: Node, _ shape: ConvolutionShape, _ weights: Tensor
  ) throws(ModelError) -> Bool {
    guard stored == .bfloat16, Processor.hasMatrixUnits, let x = node.inputs[0],
      let w = node.inputs[1], let y = node.outputs[0], storedType(y) == .bfloat16,
      let kernel = DepthwiseSideBySideKernel(shape)
    else { return false }
    let bias = node.inputs.count > 2 ? node.inputs[2] : nil
    let biases = bias.flatMap { constant($0) }
    let packed = try model.weights.place(
      layer: layer, name: "\(w.index) side by side with \(bias.map { "\($0.index)" } ?? "zeros")",
      byteCount: kernel.weightCount * 4
    ) { target in
      kernel.pack(
        weights.storage.source.assumingMemoryBound(to: Float.self),
        biases.map { UnsafePointer($0.storage.source.assumingMemoryBound(to: Float.self)) },
        into: target.assumingMemoryBound(to: Float.self))
      model.letGoWhileLoading(weights)
    }
    let source = try value(x, .channelsLast, stored)
    let target = try makeBuffer(y, .channelsLast, stored)
    steps.append(
      Plan.Step(
        kernel: kernel,
        operands: [
          .buffer(source), .weight(WeightPointer(address: packed)), .buffer(target),
        ], writes: 1))
    return true
  }

  /// Whether a kernel of our own is better, pinned for the model when it is asked first.
  private mutating func prefersOwn(
    _ shape: ConvolutionShape, _ x: ValueID, _ y: ValueID
  ) throws(ModelError) -> Bool {
    let size = shape.input.dropFirst()
    if let pin = model.pinned(y, size) { return pin.implementation == Self.own }
    guard try forms[home(x)].layout != .plain || shape.input[1] >= MemoryDescriptor.block,
      shape.isSlowAfterwards || !suitsOneDNN(shape, y),
      let form = MemoryDescriptor([shape.channels], .float32, .plain)
    else { return false }
    model.pin(y, size, Pin(weights: form, implementation: Self.own))
    return true
  }

  /// Whether oneDNN has a kernel for matrix units that takes the same weights on every number of
  /// units.
  private func suitsOneDNN(_ shape: ConvolutionShape, _ y: ValueID) -> Bool {
    let way = ConvolutionWay(
      source: .channelsLast, destination: .channelsLast, type: stored,
      outputType: shape.post.addsToDestination ? stored : storedType(y))
    guard let primitive = shape.primitive(way, pinned: nil, samples: 1),
      primitive.implementation.contains("amx"),
      let weights = primitive.descriptor(dnnl_query_weights_md)
    else { return false }
    return takesEveryUnitCount(shape, way, weights, primitive.implementation)
  }
}

extension ConvolutionShape {
  /// Each pixel is multiplied with one matrix.
  fileprivate var isPointwise: Bool {
    groups == 1 && (3...4).contains(input.count) && input[2...] == output[2...]
      && (window.kernel + window.strides).allSatisfy { $0 == 1 }
      && (window.before + window.after).allSatisfy { $0 == 0 } && input[1] >= 8
      && !input.contains(0) && output[1] > 0
  }

  /// Whether oneDNN takes longer for what follows the sums than for these.
  fileprivate var isSlowAfterwards: Bool {
    input[2...].reduce(1, *) > 1
      && (post.functions.first?.algorithm == dnnl_eltwise_hardswish || post.isSwish)
  }
}
