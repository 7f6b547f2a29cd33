import Backend
import COneDNN
import Models
import Reference
import Vocabulary

/// A convolution of 8-bit integers.
struct IntegerConvolution {
  var operands: QuantizedOperands
  var input: [Int]
  var output: [Int]
  /// The shape of the weights as the graph has them.
  var weights: [Int]
  var window: Window
  var groups: Int
  var target: ElementType

  var channels: Int { output[1] }
  /// Pixels of one sample's result.
  var pixels: Int { output[2...].reduce(1, *) }
}

extension Lowering {
  /// With a result in 8 bits by oneDNN; exact sums, and weights that do not fit into INT8 without
  /// their zero points, as products of patches.
  mutating func lowerIntegerConvolution(_ node: Node) throws(ModelError) -> Bool {
    guard Processor.sumsExactly, let operands = QuantizedOperands(node, self),
      let y = node.outputs[0], let weights = operands.weights, weights.bytesAreSmall,
      constant(operands.x) == nil, weights.elementCount > 0, operands.fit(weights.shape[0])
    else { return false }
    let input = try shape(operands.x)
    guard (3...5).contains(input.count), weights.shape.count == input.count else { return false }
    let convolution = IntegerConvolution(
      operands: operands, input: input, output: try shape(y), weights: weights.shape,
      window: try Window(node, kernel: Array(weights.shape[2...]), input: Array(input[2...])),
      groups: node.int("group", default: 1), target: try type(y))
    guard let range = realRange(node) else { return false }
    if node.operation != "ConvInteger", operands.dynamicZero == nil,
      try lowerRequantized(node, convolution, y)
    {
      return true
    }
    return try lowerPatches(convolution, y, range)
  }

  private mutating func lowerRequantized(
    _ node: Node, _ convolution: IntegerConvolution, _ y: ValueID
  ) throws(ModelError) -> Bool {
    let operands = convolution.operands
    guard let weights = operands.centredWeights(axis: 0),
      let post = postOperations(node, convolution)
    else { return false }
    let groups = convolution.groups
    let shape = ConvolutionShape(
      input: convolution.input, output: convolution.output,
      weights: groups == 1
        ? weights.shape : [groups, weights.shape[0] / groups] + weights.shape.dropFirst(),
      window: convolution.window, channels: convolution.channels, groups: groups, post: post)
    let way = ConvolutionWay(
      source: .channelsLast, destination: .channelsLast, type: try type(operands.x),
      outputType: convolution.target, weightType: .int8)
    guard let (primitive, samples) = try chooseInteger(shape, way, y),
      let wanted = primitive.descriptor(dnnl_query_weights_md),
      let from = MemoryDescriptor([samples] + shape.input.dropFirst(), way.type, way.source),
      let to = MemoryDescriptor(
        [samples] + shape.output.dropFirst(), way.outputType, way.destination),
      let flat = MemoryDescriptor([shape.channels], .float32, .plain)
    else { return false }
    let source = try value(operands.x, .channelsLast)
    let packed = try model.packedWeight(
      weights.reshaped(shape.weights), operands.w, as: wanted, layer: layer,
      variant: operands.weightZeros == [0] ? "" : " for \(y.index)")
    let bias = try integerBias(operands, y, count: shape.channels)
    let target = try makeBuffer(y, .channelsLast)
    var kernel = PrimitiveKernel(
      primitive: primitive,
      arguments: [
        .init(argument: DNNL.source, descriptor: from, operand: 0, advance: from.byteCount),
        .init(argument: DNNL.weights, descriptor: wanted, operand: 1),
        .init(argument: DNNL.bias, descriptor: flat, operand: 2),
        .init(argument: DNNL.destination, descriptor: to, operand: 3, advance: to.byteCount),
      ])
    kernel.repetitions = shape.output[0] / samples
    steps.append(
      Plan.Step(
        kernel: kernel,
        operands: [.buffer(source), .weight(packed), .weight(bias), .buffer(target)], writes: 1))
    return true
  }

  /// Scales and zero points; what an activation cuts is told in steps of the result.
  private func postOperations(
    _ node: Node, _ convolution: IntegerConvolution
  ) -> PostOperations? {
    let operands = convolution.operands
    let factors = operands.factors(convolution.channels)
    // What neither FP32 nor oneDNN can scale is left to plain arithmetic.
    guard factors.allSatisfy({ $0.isNormal }) else { return nil }
    let step = operands.result?.scale ?? 1
    let (alpha, beta) = (node.float("alpha", default: 0), node.float("beta", default: 0))
    let activation: Activation? =
      switch node.string("activation", default: "") {
      case "Relu": .named("Relu")
      case "Clip": .named("Clip", alpha: alpha / step, beta: beta / step)
      default: nil
      }
    return PostOperations(
      activation: activation,
      quantization: Quantization(
        scales: Set(factors).count == 1 ? [factors[0]] : factors, sourceZero: operands.zero,
        destinationZero: operands.result?.zero ?? 0, hasGroups: convolution.groups > 1))
  }

  /// A bias for each channel in the units that oneDNN adds it in; zeros where there is none.
  private func integerBias(
    _ operands: QuantizedOperands, _ y: ValueID, count: Int
  ) throws(ModelError) -> WeightPointer {
    // Kernels may read whole vectors.
    let bytes = (count * 4 + 63) & ~63
    let place = try model.weights.place(
      layer: layer, name: "\(y.index) bias in sums", byteCount: bytes
    ) { target in
      let floats = target.assumingMemoryBound(to: Float.self)
      for index in 0..<bytes / 4 { floats[index] = 0 }
      let factors = operands.factors(count)
      for (index, value) in (operands.biasInSums(count) ?? []).enumerated() {
        floats[index] = Float(
          Quantization.scalesComeFirst ? value * Double(factors[index]) : value)
      }
    }
    return WeightPointer(address: place)
  }

  /// The kernel for one way, the same for every number of samples and units.
  private mutating func chooseInteger(
    _ shape: ConvolutionShape, _ way: ConvolutionWay, _ y: ValueID
  ) throws(ModelError) -> (primitive: Primitive, samples: Int)? {
    let size = shape.input.dropFirst()
    guard let pin = model.pinned(y, size) else {
      guard let primitive = shape.primitive(way, pinned: nil, samples: shape.input[0]),
        !primitive.implementation.hasPrefix("ref"),
        let weights = primitive.descriptor(dnnl_query_weights_md),
        takesEveryUnitCount(shape, way, weights, primitive.implementation)
      else { return nil }
      let pin = Pin(weights: weights, implementation: primitive.implementation, convolution: way)
      model.pin(y, size, pin)
      return (primitive, shape.input[0])
    }
    for samples in [shape.input[0], 1] {
      // Another kernel may round its scaled sums otherwise, and give one sample other bits.
      if let primitive = shape.primitive(way, pinned: pin.weights, samples: samples),
        primitive.implementation == pin.implementation
      {
        return (primitive, samples)
      }
    }
    return nil
  }

  /// As a product of the weights with every patch of the input that the window takes.
  private mutating func lowerPatches(
    _ convolution: IntegerConvolution, _ y: ValueID, _ range: (low: Float, high: Float)
  ) throws(ModelError) -> Bool {
    let operands = convolution.operands
    guard let (weights, zeros) = operands.movedWeights() else { return false }
    let groups = convolution.groups
    let patches = Patches(
      window: convolution.window.threeAxes, input: Self.threeAxes(convolution.input),
      output: Self.threeAxes(convolution.output), groups: groups)
    let columns = convolution.channels / groups
    guard columns > 0, patches.rows > 0 else { return false }
    // Rows of a patch in the order of the weights: channel, then place in the window.
    let problem = IntegerProduct(
      rows: patches.rows, inner: patches.size, columns: columns,
      batch: convolution.input[0] * groups,
      rowStride: convolution.channels, patches: patches)
    let parameters = IntegerProductParameters(
      operands: operands, zeros: zeros, target: convolution.target, range: range)
    return try appendIntegerProduct(
      problem, parameters, weights.reshaped([groups, columns, patches.size]),
      isTransposed: true, y, layout: .channelsLast)
  }

  /// Samples and channels, and three axes of pixels.
  private static func threeAxes(_ shape: [Int]) -> [Int] {
    shape[..<2] + [Int](repeating: 1, count: 5 - shape.count) + shape[2...]
  }
}

extension Tensor {
  /// Whether the elements are 8-bit integers.
  var bytesAreSmall: Bool { type == .int8 || type == .uint8 }
}
