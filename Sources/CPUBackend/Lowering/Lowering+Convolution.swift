import Backend
import COneDNN
import Models
import Reference
import Vocabulary

/// The arguments of oneDNN's primitives, whose names C gives as macros.
enum DNNL {
  static let source = Int32(DNNL_ARG_SRC)
  static let second = Int32(DNNL_ARG_SRC_1)
  static let destination = Int32(DNNL_ARG_DST)
  static let weights = Int32(DNNL_ARG_WEIGHTS)
  static let bias = Int32(DNNL_ARG_BIAS)
  static let from = Int32(DNNL_ARG_FROM)
  static let to = Int32(DNNL_ARG_TO)
}

extension Lowering {
  /// Convolution, bias, residual and activation in one kernel.
  mutating func lowerConvolution(_ node: Node) throws(ModelError) -> Bool {
    guard let x = node.inputs.first ?? nil, let w = node.inputs[1], let y = node.outputs[0],
      let weights = constant(w), weights.type == .float32, try type(x) == .float32
    else { return false }
    let bias = node.inputs.count > 2 ? node.inputs[2] : nil
    let residual = node.inputs.count > 3 ? node.inputs[3] : nil
    guard bias.map({ constant($0) != nil }) ?? true else { return false }
    guard let post = postOperations(node, addsResidual: residual != nil) else { return false }
    let groups = node.int("group", default: 1)
    let given = (try self.shape(x), try self.shape(y))
    var shape = ConvolutionShape(
      input: given.0, output: given.1,
      weights: groups == 1
        ? weights.shape
        : [groups, weights.shape[0] / groups] + weights.shape.dropFirst(),
      window: try Window(
        node, kernel: Array(weights.shape[2...]), input: Array(given.0[2...])),
      channels: given.1[1], groups: groups, post: post)
    shape.turnColumn()
    let (input, output) = (shape.input, shape.output)
    if try lowerGroupedPointwise(node, shape, weights) { return true }
    if try lowerDepthwise(node, shape, weights) { return true }
    if try lowerByMatrixUnits(node, shape, weights) { return true }
    if try lowerDepthwiseSideBySide(node, shape, weights) { return true }
    if try lowerPointwiseSideBySide(node, shape, weights) { return true }
    guard let (primitive, way, samples) = try choose(shape, x, y) else { return false }

    let source = try value(x, way.source, way.type)
    let elder = try residual.map { (id) throws(ModelError) in
      try value(id, way.destination, way.outputType)
    }
    let target = try makeBuffer(
      y, way.destination, way.outputType, successorOf: heirloom(elder, besides: source))
    guard let wanted = primitive.descriptor(dnnl_query_weights_md),
      let from = MemoryDescriptor([samples] + input.dropFirst(), way.type, way.source),
      let to = MemoryDescriptor([samples] + output.dropFirst(), way.outputType, way.destination),
      let flat = MemoryDescriptor([shape.channels], .float32, .plain)
    else { return false }
    let packed = try model.packedWeight(
      weights.reshaped(shape.weights), w, as: wanted, layer: layer)
    let added = try model.biasWeight(
      bias.flatMap { constant($0) }, bias ?? w, count: shape.channels, layer: layer)
    var kernel = PrimitiveKernel(
      primitive: primitive,
      arguments: [
        .init(argument: DNNL.source, descriptor: from, operand: 0, advance: from.byteCount),
        .init(argument: DNNL.weights, descriptor: wanted, operand: 1),
        .init(argument: DNNL.bias, descriptor: flat, operand: 2),
        .init(
          argument: DNNL.destination, descriptor: to, operand: elder == nil ? 3 : 4,
          advance: to.byteCount),
      ])
    kernel.repetitions = output[0] / samples
    kernel.keepsPadding = post.keepsZero
    var operands: [Plan.Operand] = [.buffer(source), .weight(packed), .weight(added)]
    if let elder {
      operands.append(.buffer(elder))
      kernel.copy = (3, 4, to.byteCount * kernel.repetitions)
    }
    operands.append(.buffer(target))
    steps.append(Plan.Step(kernel: kernel, operands: operands, writes: 1))
    return !way.activatesAfterwards || activate(target, way, shape)
  }

  /// Appends what follows the sums as a pass of its own; false where oneDNN does not know it.
  private mutating func activate(
    _ target: Int, _ way: ConvolutionWay, _ shape: ConvolutionShape
  ) -> Bool {
    if way.type == .bfloat16, let swish = shape.post.activation {
      let kernel = SwishKernel(count: shape.output.reduce(1, *), alpha: swish.alpha)
      steps.append(
        Plan.Step(kernel: kernel, operands: [.buffer(target), .buffer(target)], writes: 1))
      return true
    }
    guard let form = descriptor(target), let after = Self.primitives(shape.post.functions, form)
    else { return false }
    append(after, from: target, to: target, form)
    return true
  }

  /// The way to convolve, pinned for the model when it is chosen first.
  mutating func choose(
    _ shape: ConvolutionShape, _ x: ValueID, _ y: ValueID
  ) throws(ModelError) -> (primitive: Primitive, way: ConvolutionWay, samples: Int)? {
    let size = shape.input.dropFirst()
    if let pin = model.pinned(y, size) {
      guard let way = pin.convolution else { return nil }
      for samples in shape.sampleCounts(way) {
        // Another kernel would sum in another order, and give one sample other bits.
        if let primitive = shape.primitive(way, pinned: pin.weights, samples: samples),
          primitive.implementation == pin.implementation
        {
          return (primitive, way, samples)
        }
      }
      return nil
    }
    let isPlain = try forms[home(x)].layout == .plain
    for way in shape.ways(
      stored, leaving: storedType(y), fromPlain: isPlain,
      usesWinograd: model.families.contains(.minimalFiltering))
    {
      guard let primitive = shape.primitive(way, pinned: nil, samples: shape.input[0]),
        !primitive.implementation.hasPrefix("ref"),
        let weights = primitive.descriptor(dnnl_query_weights_md),
        takesEveryUnitCount(shape, way, weights, primitive.implementation)
      else { continue }
      model.pin(
        y, size, Pin(weights: weights, implementation: primitive.implementation, convolution: way))
      return (primitive, way, shape.input[0])
    }
    return nil
  }

  /// Whether the weights have the same form for every number of units: oneDNN cuts the tiles of
  /// minimal filtering by threads, and may choose otherwise for matrix units; a batch may run on
  /// fewer units than the model was loaded for.
  func takesEveryUnitCount(
    _ shape: ConvolutionShape, _ way: ConvolutionWay, _ weights: MemoryDescriptor,
    _ implementation: String
  ) -> Bool {
    guard way.algorithm == dnnl_convolution_winograd || way.type != .float32 else { return true }
    defer { OneDNN.use(units: nodeUnits) }
    return model.unitCounts.allSatisfy { count in
      OneDNN.use(units: count)
      return shape.implementation(way, pinned: weights, samples: 1) == implementation
    }
  }
}
