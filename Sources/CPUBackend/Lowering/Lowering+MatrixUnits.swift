import Backend
import CKernels
import COneDNN
import Models
import Reference
import Vocabulary

/// Convolutions and products of FP32 with constant weights on matrix units; in BF16 oneDNN's
/// kernels use these themselves.
///
/// Which nodes go there depends on channels and windows, never on the number of samples or rows:
/// the same sample gets the same bits in every batch.
extension Lowering {
  /// Channels below which tiles are mostly empty.
  private static let leastDepth = 16
  /// Outputs below which they are.
  private static let leastOutputs = 8

  /// Whether there are matrix units that may be used.
  var hasMatrixUnits: Bool {
    model.families.contains(.matrixUnits) && Processor.hasMatrixUnits
  }

  private var usesMatrixUnits: Bool { hasMatrixUnits && stored == .float32 }

  /// A convolution of pictures or lines; depthwise ones and those in small groups have other ways.
  mutating func lowerByMatrixUnits(
    _ node: Node, _ shape: ConvolutionShape, _ weights: Tensor
  ) throws(ModelError) -> Bool {
    guard usesMatrixUnits, let x = node.inputs[0], let w = node.inputs[1], let y = node.outputs[0],
      var convolution = described(shape)
    else { return false }
    let residual = node.inputs.count > 3 ? node.inputs[3] : nil
    let functions = kernels_functions(shape.post.functions)
    convolution.functions = functions ?? kernels_functions()
    let window = shape.window.kernel.reduce(1, *)
    let inputs = Int(convolution.inputs)
    let source = convolution.source_order == KERNELS_BLOCKS ? Layout.blocked : .plain
    let target = try append(
      convolution, (x, source), residual, (y, .blocked),
      weights: (weights, w, (output: inputs * window, input: window, pixel: 1)),
      bias: bias(of: node, w))
    guard functions == nil else { return true }
    guard let form = descriptor(target), let after = Self.primitives(shape.post.functions, form)
    else { return false }
    append(after, from: target, to: target, form)
    return true
  }

  /// Rows multiplied with constant weights.
  mutating func lowerByMatrixUnits(
    _ node: Node, _ a: ValueID, _ b: (tensor: Tensor, id: ValueID, isTransposed: Bool),
    _ bias: ValueID?, rows: Int, inner: Int, columns: Int, _ post: PostOperations
  ) throws(ModelError) -> Bool {
    guard usesMatrixUnits, let y = node.outputs[0], inner >= Self.leastDepth,
      columns >= Self.leastOutputs, rows > 0, rows * max(inner, columns) <= Int(Int32.max)
    else { return false }
    let residual = node.inputs.count > 3 ? node.inputs[3] : nil
    var convolution = kernels_convolution()
    (convolution.samples, convolution.groups) = (1, 1)
    (convolution.inputs, convolution.outputs) = (Int64(inner), Int64(columns))
    (convolution.height, convolution.made_height) = (Int64(rows), Int64(rows))
    (convolution.width, convolution.made_width) = (1, 1)
    (convolution.window_height, convolution.window_width) = (1, 1)
    (convolution.step_down, convolution.step_right) = (1, 1)
    (convolution.gap_down, convolution.gap_right) = (1, 1)
    guard let functions = kernels_functions(post.functions) else { return false }
    convolution.functions = functions
    let strides =
      b.isTransposed
      ? (output: inner, input: 1, pixel: 1) : (output: 1, input: columns, pixel: 1)
    _ = try append(
      convolution, (a, .plain), residual, (y, .plain),
      weights: (b.tensor, b.id, strides), bias: (bias.flatMap { constant($0) }, bias ?? b.id))
    return true
  }

  private func bias(of node: Node, _ weights: ValueID) -> (tensor: Tensor?, id: ValueID) {
    let bias = node.inputs.count > 2 ? node.inputs[2] : nil
    return (bias.flatMap { constant($0) }, bias ?? weights)
  }

  /// A transposed convolution whose windows do not overlap: a product for each place of the window,
  /// whose results are written where they belong.
  ///
  /// - Parameters:
  ///   - shape: The product, with whole groups of channels for each place.
  ///   - channels: Those of them that are there.
  ///   - weights: Rows of inputs, as the product has them; and the bias for each of its outputs.
  mutating func lowerSpread(
    _ node: Node, _ shape: ConvolutionShape, window: [Int], channels: Int, _ weights: Tensor,
    _ bias: Tensor?
  ) throws(ModelError) -> Bool {
    guard usesMatrixUnits, let x = node.inputs[0], let w = node.inputs[1], let y = node.outputs[0],
      channels >= Self.leastOutputs, var convolution = described(shape),
      convolution.source_order == KERNELS_BLOCKS,
      let functions = kernels_functions(shape.post.functions)
    else { return false }
    convolution.functions = functions
    (convolution.spread_down, convolution.spread_right) = (Int64(window[0]), Int64(window[1]))
    convolution.channels = Int64(channels)
    let inputs = Int(convolution.inputs)
    _ = try append(
      convolution, (x, .blocked), nil, (y, .blocked),
      weights: (weights, w, (output: inputs, input: 1, pixel: 1)),
      bias: (bias, self.bias(of: node, w).id))
    return true
  }

  /// A convolution as the kernel wants it told; nil where it has no way for it.
  private func described(_ shape: ConvolutionShape) -> kernels_convolution? {
    let (input, output, window) = (shape.input, shape.output, shape.window)
    let (inputs, outputs) = (input[1] / shape.groups, output[1] / shape.groups)
    let block = MemoryDescriptor.block
    guard (3...4).contains(input.count), window.before.allSatisfy({ $0 >= 0 }),
      shape.groups == 1 || (inputs % block == 0 && outputs % block == 0),
      outputs >= Self.leastOutputs,
      !input.contains(0), !output.contains(0),
      [input, output].allSatisfy({ $0.elementCount <= Int(Int32.max) })
    else { return nil }
    /// A line is a picture of one row.
    func sizes(_ sizes: some Collection<Int>, _ missing: Int) -> (Int64, Int64) {
      let all = (sizes.count == 1 ? [missing] : []) + sizes
      return (Int64(all[0]), Int64(all[1]))
    }
    var made = kernels_convolution()
    (made.samples, made.groups) = (Int64(input[0]), Int64(shape.groups))
    (made.inputs, made.outputs) = (Int64(inputs), Int64(outputs))
    (made.height, made.width) = sizes(input[2...], 1)
    (made.made_height, made.made_width) = sizes(output[2...], 1)
    (made.window_height, made.window_width) = sizes(window.kernel, 1)
    (made.step_down, made.step_right) = sizes(window.strides, 1)
    (made.gap_down, made.gap_right) = sizes(window.dilations, 1)
    (made.top, made.left) = sizes(window.before, 0)
    (made.source_order, made.target_order) = (KERNELS_BLOCKS, KERNELS_BLOCKS)
    guard inputs < Self.leastDepth else { return made }
    // One channel is the same in every order.
    made.source_order = inputs == 1 ? KERNELS_ROWS : KERNELS_PLANES
    return kernels_convolution_fills_tiles(&made) ? made : nil
  }

  /// Appends the kernel, and returns the buffer of its result.
  private mutating func append(
    _ convolution: kernels_convolution, _ x: (id: ValueID, layout: Layout),
    _ residual: ValueID?, _ y: (id: ValueID, layout: Layout),
    weights: (tensor: Tensor, id: ValueID, strides: (output: Int, input: Int, pixel: Int)),
    bias: (tensor: Tensor?, id: ValueID)
  ) throws(ModelError) -> Int {
    let kernel = MatrixUnitKernel(convolution, threads: nodeUnits)
    let packed = try model.weights.place(
      layer: layer, name: "\(weights.id.index) \(kernel.weightForm)",
      byteCount: kernel.weightBytes
    ) { target in
      kernel.pack(
        weights.tensor.storage.source.assumingMemoryBound(to: Float.self),
        strides: weights.strides, into: target)
      model.letGoWhileLoading(weights.tensor)
    }
    let added = try model.biasWeight(
      bias.tensor, bias.id, count: Int(convolution.groups * convolution.outputs), layer: layer)
    let source = try value(x.id, x.layout)
    let elder = try residual.map { (id) throws(ModelError) in try value(id, y.layout) }
    var operands: [Plan.Operand] = [
      .buffer(source), .weight(WeightPointer(address: packed)), .weight(added),
    ]
    if let elder { operands.append(.buffer(elder)) }
    let target = try makeBuffer(y.id, y.layout, successorOf: heirloom(elder, besides: source))
    operands.append(.buffer(target))
    steps.append(Plan.Step(kernel: kernel, operands: operands, writes: 1))
    return target
  }
}
