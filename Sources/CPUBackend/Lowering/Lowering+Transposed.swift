import CKernels
import COneDNN
import Models
import Reference
import Vocabulary

extension Lowering {
  /// A transposed convolution with its bias and activation.
  mutating func lowerTransposedConvolution(_ node: Node) throws(ModelError) -> Bool {
    guard let x = node.inputs[0], let w = node.inputs[1], let y = node.outputs[0],
      let weights = constant(w), weights.type == .float32, try type(x) == .float32,
      constant(x) == nil, node.int("group", default: 1) == 1,
      node.string("auto_pad", default: "NOTSET") == "NOTSET", node.attributes["output_shape"] == nil
    else { return false }
    let bias = node.inputs.count > 2 ? node.inputs[2] : nil
    let (input, output) = (try shape(x), try shape(y))
    let kernel = Array(weights.shape[2...])
    guard bias.map({ constant($0) != nil }) ?? true, input.count == 4, weights.shape.count == 4,
      let post = postOperations(node, addsResidual: false)
    else { return false }
    let window = try Window(node, kernel: kernel, input: Array(input[2...]))
    if try lowerInterleaved(node, window, weights) { return true }
    let after = kernel.indices.map { axis in
      (input[axis + 2] - 1) * window.strides[axis] + window.dilations[axis] * (kernel[axis] - 1) + 1
        - output[axis + 2] - window.before[axis]
    }
    let pinned = model.pinned(y, input.dropFirst())?.weights
    guard let from = MemoryDescriptor(input, .float32, .blocked),
      let to = MemoryDescriptor(output, .float32, .blocked),
      let flat = MemoryDescriptor([output[1]], .float32, .plain),
      let any = pinned ?? MemoryDescriptor.any([output[1], input[1]] + kernel, .float32)
    else { return false }
    let geometry = WindowGeometry(
      strides: window.strides, dilations: window.dilations, before: window.before, after: after)
    let operation = Operation.deconvolution(
      source: from, weights: any, bias: flat, destination: to, geometry)
    // Its fast kernels take no activation: that is a pass of its own.
    guard let primitive = Primitive(operation), !primitive.implementation.hasPrefix("ref"),
      let form = primitive.descriptor(dnnl_query_weights_md),
      let activations = Self.primitives(post.functions, to)
    else { return false }
    model.pin(y, input.dropFirst(), Pin(weights: form))
    // The file has input channels first, oneDNN output channels.
    let area = kernel.reduce(1, *)
    let packed = try model.packedWeight(
      weights, w, shape: [output[1], input[1]] + kernel,
      strides: [area, output[1] * area, kernel[1], 1], as: form, layer: layer)
    let added = try model.biasWeight(
      bias.flatMap { constant($0) }, bias ?? w, count: output[1], layer: layer)
    let source = try value(x, .blocked)
    let target = try makeBuffer(y, .blocked)
    append(
      primitive,
      [
        (DNNL.source, from, .buffer(source)), (DNNL.weights, form, .weight(packed)),
        (DNNL.bias, flat, .weight(added)), (DNNL.destination, to, .buffer(target)),
      ], writes: 1)
    append(activations, from: target, to: target, to)
    return true
  }

  /// Windows that do not overlap: a product for each place of the window, then pixels side by side.
  ///
  /// oneDNN's kernel would compute whole groups of output channels where there is one channel.
  private mutating func lowerInterleaved(
    _ node: Node, _ window: Window, _ weights: Tensor
  ) throws(ModelError) -> Bool {
    guard let x = node.inputs[0], let w = node.inputs[1], let y = node.outputs[0],
      let post = postOperations(node, addsResidual: false)
    else { return false }
    let (input, output, channels) = (try shape(x), try shape(y), weights.shape[1])
    guard window.kernel == window.strides, window.dilations == [1, 1], window.kernel != [1, 1],
      (window.before + window.after).allSatisfy({ $0 == 0 }), !input.contains(0),
      zip(zip(input[2...], window.kernel), output[2...]).allSatisfy({ $0.0 * $0.1 == $1 })
    else { return false }
    let block = MemoryDescriptor.block
    let each = channels < block ? channels : (channels + block - 1) / block * block
    let all = each * window.kernel.reduce(1, *)
    let plain = Node(name: node.name, operation: "Conv", opset: node.opset, inputs: [], outputs: [])
    let shape = ConvolutionShape(
      input: input, output: [input[0], all] + input[2...], weights: [all, input[1], 1, 1],
      window: try Window(plain, kernel: [1, 1], input: Array(input[2...])), channels: all,
      groups: 1,
      post: post)
    let bias = node.inputs.count > 2 ? node.inputs[2] : nil
    let turned = Self.turned(weights, rows: each)
    let added = bias.flatMap { constant($0) }.map { Self.repeated($0, all / each, rows: each) }
    if try lowerOneOutput(node, shape, window: window.kernel, turned, added) { return true }
    if try lowerSpread(node, shape, window: window.kernel, channels: channels, turned, added) {
      return true
    }
    guard let (primitive, way, samples) = try choose(shape, x, y), samples == input[0],
      way.destination != .plain,
      let form = primitive.descriptor(dnnl_query_weights_md),
      let from = MemoryDescriptor(input, way.type, way.source),
      let made = MemoryDescriptor(shape.output, way.outputType, way.destination),
      let flat = MemoryDescriptor([all], .float32, .plain)
    else { return false }
    let packed = try model.packedWeight(turned, w, as: form, layer: layer)
    let sums = try model.biasWeight(added, bias ?? w, count: all, layer: layer)
    let source = try value(x, way.source, way.type)
    let product = try newBuffer(y, shape.output, way.destination, way.outputType)
    append(
      primitive,
      [
        (DNNL.source, from, .buffer(source)), (DNNL.weights, form, .weight(packed)),
        (DNNL.bias, flat, .weight(sums)), (DNNL.destination, made, .buffer(product)),
      ], writes: 1)
    let to: Layout = channels < block ? .plain : way.destination
    let kernel = InterleaveKernel(
      samples: input[0], channels: channels, height: input[2], width: input[3],
      window: (window.kernel[0], window.kernel[1]), from: way.destination, to: to,
      elementSize: way.outputType.byteSize, each: each)
    let target = try makeBuffer(y, to, way.outputType)
    steps.append(
      Plan.Step(kernel: kernel, operands: [.buffer(product), .buffer(target)], writes: 1))
    return true
  }

  /// One channel, of windows of two columns.
  private mutating func lowerOneOutput(
    _ node: Node, _ shape: ConvolutionShape, window: [Int], _ weights: Tensor, _ bias: Tensor?
  ) throws(ModelError) -> Bool {
    let input = shape.input
    guard stored == .float32, let x = node.inputs[0], let w = node.inputs[1],
      let y = node.outputs[0], window[1] == 2, shape.output[1] == window.reduce(1, *),
      let functions = kernels_functions(shape.post.functions),
      let form = MemoryDescriptor(weights.shape, .float32, .blocked)
    else { return false }
    let kernel = OneOutputKernel(
      samples: input[0], groups: (input[1] + MemoryDescriptor.block - 1) / MemoryDescriptor.block,
      height: input[2], width: input[3], rows: window[0],
      bias: bias?.withElements(as: Float.self) { $0[0] } ?? 0, functions: functions)
    let packed = try model.packedWeight(weights, w, as: form, layer: layer)
    let source = try value(x, .blocked)
    let target = try makeBuffer(y, .plain)
    steps.append(
      Plan.Step(
        kernel: kernel, operands: [.buffer(source), .weight(packed), .buffer(target)], writes: 1))
    return true
  }

  /// Weights [inputs, channels, rows, columns] as those of a product with as many rows for each
  /// place of the window, channels and then zeros; made when they are needed.
  private static func turned(_ weights: Tensor, rows: Int) -> Tensor {
    let (inputs, channels) = (weights.shape[0], weights.shape[1])
    let places = weights.shape[2] * weights.shape[3]
    let storage = TensorStorage(
      byteCount: places * rows * inputs * 4, from: [weights.storage]
    ) { target in
      let source = weights.storage.source
      for row in 0..<places * rows {
        let (place, channel) = row.quotientAndRemainder(dividingBy: rows)
        for input in 0..<inputs {
          let from = (input * channels + channel) * places + place
          let weight =
            channel < channels ? source.loadUnaligned(fromByteOffset: from * 4, as: Float.self) : 0
          target.storeBytes(of: weight, toByteOffset: (row * inputs + input) * 4, as: Float.self)
        }
      }
    }
    return Tensor(type: .float32, shape: [places * rows, inputs, 1, 1], storage: storage)
  }

  /// A bias once for each place of the window, filled up with zeros.
  private static func repeated(_ bias: Tensor, _ places: Int, rows: Int) -> Tensor {
    bias.withElements(as: Float.self) { bias in
      Tensor.make(.float32, [places * rows], as: Float.self) { elements in
        for row in elements.indices {
          elements[row] = row % rows < bias.count ? bias[row % rows] : 0
        }
      }
    }
  }
}
