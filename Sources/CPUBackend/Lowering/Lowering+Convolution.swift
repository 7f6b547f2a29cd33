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

/// A convolution for some samples, ready to be made in one of several ways.
private struct ConvolutionShape {
  var input: [Int]
  var output: [Int]
  /// Weights as oneDNN wants them: groups in front when there are several.
  var weights: [Int]
  var window: Window
  var channels: Int
  var groups: Int
  var post: PostOperations

  var isDepthwise: Bool { groups == input[1] && groups == output[1] }

  /// Channels of a group fill whole vectors, or there is one group, or one channel in each.
  var suitsBlocks: Bool {
    let block = MemoryDescriptor.block
    return groups == 1 || isDepthwise
      || (input[1] / groups % block == 0 && output[1] / groups % block == 0)
  }

  /// Winograd's minimal filtering takes 2.25 to 4 times fewer products than the definition; its
  /// transforms pay off where there are many channels and enough tiles.
  var suitsWinograd: Bool {
    let block = MemoryDescriptor.block
    return window.kernel == [3, 3] && window.strides == [1, 1] && window.dilations == [1, 1]
      && (window.before + window.after).allSatisfy { $0 <= 1 } && groups == 1
      && input[1] % block == 0 && output[1] % block == 0 && input[1] >= 32 && output[1] >= 32
      && output[2] * output[3] >= 100
  }

  /// Makes a primitive, or nil where oneDNN has none of this kind.
  func primitive(
    source: Layout, destination: Layout, algorithm: dnnl_alg_kind_t, pinned: MemoryDescriptor?,
    samples: Int
  ) -> Primitive? {
    guard let from = MemoryDescriptor([samples] + input.dropFirst(), .float32, source),
      let to = MemoryDescriptor([samples] + output.dropFirst(), .float32, destination),
      let weights = pinned ?? MemoryDescriptor.any(weights, .float32),
      let bias = MemoryDescriptor([channels], .float32, .plain)
    else { return nil }
    var (x, w, b, y) = (from.raw, weights.raw, bias.raw, to.raw)
    var operation = dnnl_convolution_desc_t()
    let status = dnnl_dilated_convolution_forward_desc_init(
      &operation, dnnl_forward_inference, algorithm, &x, &w, &b, &y,
      window.strides.map(Int64.init), window.dilations.map { Int64($0 - 1) },
      window.before.map(Int64.init), window.after.map(Int64.init))
    guard status == dnnl_success else { return nil }
    return Primitive(operation, post)
  }
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
    let (input, output) = (try shape(x), try shape(y))
    let groups = node.int("group", default: 1)
    let shape = ConvolutionShape(
      input: input, output: output,
      weights: groups == 1
        ? weights.shape
        : [groups, weights.shape[0] / groups] + weights.shape.dropFirst(),
      window: try Window(
        node, kernel: Array(weights.shape[2...]), input: Array(input[2...])),
      channels: output[1], groups: groups, post: post)
    if try lowerGroupedPointwise(node, shape, weights) { return true }
    guard let choice = try choose(shape, x, y) else { return false }

    let source = try value(x, choice.source)
    let elder = try residual.map { (id) throws(ModelError) in try value(id, choice.destination) }
    let target = try makeBuffer(
      y, choice.destination, successorOf: heirloom(elder, besides: source))
    guard let wanted = choice.primitive.descriptor(dnnl_query_weights_md),
      let from = MemoryDescriptor([choice.samples] + input.dropFirst(), .float32, choice.source),
      let to = MemoryDescriptor(
        [choice.samples] + output.dropFirst(), .float32, choice.destination),
      let flat = MemoryDescriptor([shape.channels], .float32, .plain)
    else { return false }
    let packed = try model.packedWeight(
      weights.reshaped(shape.weights), w, as: wanted, layer: layer)
    let added = try model.biasWeight(
      bias.flatMap { constant($0) }, bias ?? w, count: shape.channels, layer: layer)
    var kernel = PrimitiveKernel(
      primitive: choice.primitive,
      arguments: [
        .init(argument: DNNL.source, descriptor: from, operand: 0, advance: from.byteCount),
        .init(argument: DNNL.weights, descriptor: wanted, operand: 1),
        .init(argument: DNNL.bias, descriptor: flat, operand: 2),
        .init(
          argument: DNNL.destination, descriptor: to, operand: elder == nil ? 3 : 4,
          advance: to.byteCount),
      ])
    kernel.repetitions = samples(of: output) / choice.samples
    var operands: [Plan.Operand] = [.buffer(source), .weight(packed), .weight(added)]
    if let elder {
      operands.append(.buffer(elder))
      kernel.copy = (3, 4, to.byteCount * kernel.repetitions)
    }
    operands.append(.buffer(target))
    steps.append(Plan.Step(kernel: kernel, operands: operands, writes: 1))
    return true
  }

  /// A 1×1 convolution in groups that do not fill vectors, for which oneDNN has only slow ways.
  private mutating func lowerGroupedPointwise(
    _ node: Node, _ shape: ConvolutionShape, _ weights: Tensor
  ) throws(ModelError) -> Bool {
    let plane = shape.output[2...].reduce(1, *)
    let window = shape.window
    let activation = node.string("activation", default: "")
    guard !shape.suitsBlocks, shape.input[2...] == shape.output[2...],
      (window.kernel + window.strides).allSatisfy({ $0 == 1 }),
      plane >= GroupedPointwiseKernel.width, activation.isEmpty || activation == "Relu",
      let x = node.inputs[0], let w = node.inputs[1], let y = node.outputs[0]
    else { return false }
    let bias = node.inputs.count > 2 ? node.inputs[2] : nil
    let residual = node.inputs.count > 3 ? node.inputs[3] : nil
    let kernel = GroupedPointwiseKernel(
      samples: shape.input[0], groups: shape.groups, inputs: shape.input[1] / shape.groups,
      outputs: shape.channels / shape.groups, plane: plane, addsResidual: residual != nil,
      clampsAtZero: !activation.isEmpty)
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
    let source = try value(x, .plain)
    var operands: [Plan.Operand] = [
      .buffer(source), .weight(WeightPointer(address: packed)), .weight(added),
    ]
    let elder = try residual.map { (id) throws(ModelError) in try value(id, .plain) }
    if let elder { operands.append(.buffer(elder)) }
    let target = try makeBuffer(y, .plain, successorOf: heirloom(elder, besides: source))
    operands.append(.buffer(target))
    steps.append(Plan.Step(kernel: kernel, operands: operands, writes: 1))
    return true
  }

  private func samples(of shape: [Int]) -> Int { shape[0] }

  /// The way to convolve, pinned for the model when it is chosen first.
  private mutating func choose(
    _ shape: ConvolutionShape, _ x: ValueID, _ y: ValueID
  ) throws(ModelError) -> (
    primitive: Primitive, source: Layout, destination: Layout, samples: Int
  )? {
    if let pin = model.pinned(y) {
      for samples in [shape.input[0], 1] {
        if let primitive = shape.primitive(
          source: pin.source, destination: pin.destination, algorithm: pin.algorithm,
          pinned: pin.weights, samples: samples)
        {
          return (primitive, pin.source, pin.destination, samples)
        }
      }
      return nil
    }
    let isFirst = try forms[home(x)].layout == .plain && shape.input[1] < MemoryDescriptor.block
    let blocks: (Layout, Layout) = (isFirst ? .plain : .blocked, .blocked)
    var candidates: [((Layout, Layout), dnnl_alg_kind_t)] = []
    if shape.suitsWinograd, model.usesWinograd {
      candidates.append((blocks, dnnl_convolution_winograd))
    }
    if shape.suitsBlocks { candidates.append((blocks, dnnl_convolution_direct)) }
    candidates.append(((.plain, .plain), dnnl_convolution_direct))
    if !shape.suitsBlocks { candidates.append(((.blocked, .blocked), dnnl_convolution_direct)) }
    for (layouts, algorithm) in candidates {
      guard
        let primitive = shape.primitive(
          source: layouts.0, destination: layouts.1, algorithm: algorithm, pinned: nil,
          samples: shape.input[0]),
        !primitive.implementation.hasPrefix("ref"),
        let weights = primitive.descriptor(dnnl_query_weights_md),
        algorithm != dnnl_convolution_winograd
          || takesEveryUnitCount(shape, layouts.0, layouts.1, weights)
      else { continue }
      model.pin(
        y,
        Pin(source: layouts.0, destination: layouts.1, algorithm: algorithm, weights: weights))
      return (primitive, layouts.0, layouts.1, shape.input[0])
    }
    return nil
  }

  /// Whether Winograd's weights have the same form for every number of units: oneDNN cuts its tiles
  /// by threads, and a batch may run on fewer units than the model was loaded for.
  private func takesEveryUnitCount(
    _ shape: ConvolutionShape, _ source: Layout, _ destination: Layout, _ weights: MemoryDescriptor
  ) -> Bool {
    defer { OneDNN.use(units: units) }
    return model.unitCounts.allSatisfy { count in
      OneDNN.use(units: count)
      return shape.primitive(
        source: source, destination: destination, algorithm: dnnl_convolution_winograd,
        pinned: weights, samples: 1) != nil
    }
  }

  /// What a fused node does after its sum; nil where oneDNN does not know the activation.
  func postOperations(_ node: Node, addsResidual: Bool) -> PostOperations? {
    let name = node.string("activation", default: "")
    let activation = Activation.named(
      name, alpha: node.float("alpha", default: Activation.defaultAlpha(name)),
      beta: node.float("beta", default: name == "Clip" ? .greatestFiniteMagnitude : 0.5))
    guard name.isEmpty || activation != nil else { return nil }
    return PostOperations(addsToDestination: addsResidual, activation: activation)
  }
}

extension Activation {
  /// oneDNN's form of an ONNX activation.
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
