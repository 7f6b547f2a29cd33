import COneDNN
import Glibc
import Models
import Reference
import Vocabulary

extension Lowering {
  /// Pools over windows and over whole planes, in the layout of their input.
  mutating func lowerPool(_ node: Node) throws(ModelError) -> Bool {
    guard let x = node.inputs[0], try type(x) == .float32 else { return false }
    if try lowerGlobalPool(node, x) { return true }
    return try lowerPool(node, from: home(x))
  }

  /// - Parameter source: Holds the input in the layout and type in which the pool is made.
  mutating func lowerPool(_ node: Node, from source: Int) throws(ModelError) -> Bool {
    guard let y = node.outputs[0], node.outputs.count == 1 || node.outputs[1] == nil else {
      return false
    }
    let (input, type, layout) = forms[source]
    let output = try shape(y)
    guard (3...5).contains(input.count) else { return false }
    guard let (window, after) = try poolWindow(node, input, output) else { return false }
    let algorithm =
      switch node.operation {
      case "MaxPool", "GlobalMaxPool": dnnl_pooling_max
      default:
        node.int("count_include_pad", default: 0) != 0
          ? dnnl_pooling_avg_include_padding : dnnl_pooling_avg_exclude_padding
      }
    if try lowerOwnPool(node, source, output, window) { return true }
    guard let from = MemoryDescriptor(input, type, layout),
      let to = MemoryDescriptor(output, type, layout)
    else { return false }
    let geometry = WindowGeometry(
      kernel: window.kernel, strides: window.strides, dilations: window.dilations,
      before: window.before, after: after)
    guard let primitive = Primitive(.pool(algorithm, source: from, destination: to, geometry))
    else { return false }
    let buffer = try makeBuffer(y, layout, type)
    append(
      primitive,
      [(DNNL.source, from, .buffer(source)), (DNNL.destination, to, .buffer(buffer))], writes: 1)
    return true
  }

  /// What oneDNN takes several times as long for: the largest numbers of windows where channels lie
  /// side by side, or of rows of many windows in groups of channels, and in these also averages of
  /// windows that reach beyond the picture.
  private mutating func lowerOwnPool(
    _ node: Node, _ source: Int, _ output: [Int], _ window: Window
  ) throws(ModelError) -> Bool {
    let (input, type, layout) = forms[source]
    guard input.count == 4, window.dilations == [1, 1], let y = node.outputs[0],
      type == .bfloat16 || type == .float32
    else { return false }
    let takesLargest = node.operation == "MaxPool"
    let block = MemoryDescriptor.block
    let (pictures, channels): (Int, Int)
    switch layout {
    case .channelsLast where takesLargest: (pictures, channels) = (input[0], input[1])
    case .blocked
    where takesLargest ? output[3] >= 24 : averagesBeyond(node, input, output, window):
      (pictures, channels) = (input[0] * ((input[1] + block - 1) / block), block)
    default: return false
    }
    let kernel = PoolKernel(
      pictures: pictures, channels: channels, input: (input[2], input[3]),
      output: (output[2], output[3]), window: (window.kernel[0], window.kernel[1]),
      steps: (window.strides[0], window.strides[1]), before: (window.before[0], window.before[1]),
      isHalf: type == .bfloat16, averages: !takesLargest)
    let target = try makeBuffer(y, layout, type)
    steps.append(
      Plan.Step(kernel: kernel, operands: [.buffer(source), .buffer(target)], writes: 1))
    return true
  }

  /// Whether windows of an average reach beyond the picture, each with a pixel of it, and what lies
  /// there does not count.
  private func averagesBeyond(
    _ node: Node, _ input: [Int], _ output: [Int], _ window: Window
  ) -> Bool {
    guard node.operation == "AveragePool", node.int("count_include_pad", default: 0) == 0 else {
      return false
    }
    let ends = (0..<2).map { axis in
      (output[axis + 2] - 1) * window.strides[axis] - window.before[axis]
    }
    let hasPixels = (0..<2).allSatisfy { axis in
      window.before[axis] < window.kernel[axis] && ends[axis] < input[axis + 2]
    }
    return hasPixels
      && (0..<2).contains { axis in
        window.before[axis] > 0 || ends[axis] + window.kernel[axis] > input[axis + 2]
      }
  }

  /// Pools over whole planes that lie in one piece; oneDNN has a fast way for blocks alone.
  private mutating func lowerGlobalPool(_ node: Node, _ x: ValueID) throws(ModelError) -> Bool {
    let input = try shape(x)
    guard let y = node.outputs[0], node.operation.hasPrefix("Global"), input.count > 2,
      !input.contains(0), try forms[home(x)].layout == .plain
    else { return false }
    let kernel = ReductionKernel(
      kind: node.operation == "GlobalMaxPool" ? .maximum : .mean, outer: input[0] * input[1],
      size: input[2...].reduce(1, *), inner: 1)
    let source = try value(x, .plain)
    let target = try makeBuffer(y, .plain)
    steps.append(
      Plan.Step(kernel: kernel, operands: [.buffer(source), .buffer(target)], writes: 1))
    return true
  }

  /// The window and the padding behind that the output's size implies; nil where a padding that the
  /// file does not name would have to be counted.
  private func poolWindow(
    _ node: Node, _ input: [Int], _ output: [Int]
  ) throws(ModelError) -> (Window, after: [Int])? {
    let spatial = Array(input[2...])
    guard let kernel = node.ints("kernel_shape") else {
      let plain = Node(
        name: node.name, operation: "Pool", opset: node.opset, inputs: [], outputs: [])
      let window = try Window(plain, kernel: spatial, input: spatial)
      return (window, window.after)
    }
    let window = try Window(node, kernel: kernel, input: spatial)
    let after = kernel.indices.map { axis in
      let reach = window.dilations[axis] * (kernel[axis] - 1) + 1
      return (output[axis + 2] - 1) * window.strides[axis] + reach - spatial[axis]
        - window.before[axis]
    }
    let grows = zip(after, window.after).contains { $0 > $1 }
    if grows, node.int("count_include_pad", default: 0) != 0 { return nil }
    return (window, after)
  }

  /// Local response normalisation, in the layout of its input.
  mutating func lowerLocalResponse(_ node: Node) throws(ModelError) -> Bool {
    guard let x = node.inputs[0], let y = node.outputs[0], try type(x) == .float32 else {
      return false
    }
    let (_, type, layout) = try forms[home(x)]
    let size = node.int("size", default: 1)
    guard size % 2 == 1, let form = MemoryDescriptor(try shape(x), type, layout) else {
      return false
    }
    if try lowerResponsesSideBySide(node, x, y, size: size) { return true }
    let operation = Operation.localResponse(
      form, size: size, alpha: node.float("alpha", default: 1e-4),
      beta: node.float("beta", default: 0.75), bias: node.float("bias", default: 1))
    guard let primitive = Primitive(operation) else { return false }
    let source = try value(x, layout, type)
    let target = try makeBuffer(y, layout, type)
    append(
      primitive,
      [(DNNL.source, form, .buffer(source)), (DNNL.destination, form, .buffer(target))], writes: 1)
    return true
  }

  /// The same where channels lie side by side, with the power that networks use.
  private mutating func lowerResponsesSideBySide(
    _ node: Node, _ x: ValueID, _ y: ValueID, size: Int
  ) throws(ModelError) -> Bool {
    let source = try home(x)
    let (shape, type, layout) = forms[source]
    guard layout == .channelsLast, node.float("beta", default: 0.75) == 0.75,
      type == .bfloat16 || type == .float32
    else { return false }
    let kernel = ResponsesKernel(
      pixels: shape[0] * shape[2...].reduce(1, *), channels: shape[1], size: size,
      factor: node.float("alpha", default: 1e-4) / Float(size),
      bias: node.float("bias", default: 1), isHalf: type == .bfloat16)
    let target = try makeBuffer(y, layout, type)
    steps.append(
      Plan.Step(kernel: kernel, operands: [.buffer(source), .buffer(target)], writes: 1))
    return true
  }

  /// Softmax along one axis; before opset 13 over all axes from one on.
  mutating func lowerSoftmax(_ node: Node) throws(ModelError) -> Bool {
    guard let x = node.inputs[0], let y = node.outputs[0], try type(x) == .float32 else {
      return false
    }
    var dimensions = try shape(x)
    let isFlat = node.opset < 13
    var axis = node.int("axis", default: isFlat ? 1 : -1)
    if axis < 0 { axis += dimensions.count }
    guard dimensions.indices.contains(axis) else { return false }
    if isFlat {
      dimensions = [
        dimensions[..<axis].reduce(1, *), dimensions[axis...].reduce(1, *),
      ]
      axis = 1
    }
    if node.operation == "LogSoftmax" { return try lowerLogSoftmax(x, y, dimensions, axis) }
    let inner = dimensions[(axis + 1)...].reduce(1, *)
    if inner >= 16, !dimensions.contains(0) {
      let source = try value(x, .plain)
      let target = try makeBuffer(y, .plain, successorOf: source)
      let kernel = SoftmaxKernel(
        outer: dimensions[..<axis].reduce(1, *), size: dimensions[axis], inner: inner)
      steps.append(
        Plan.Step(kernel: kernel, operands: [.buffer(source), .buffer(target)], writes: 1))
      return true
    }
    let type = storedType(y) == .float32 ? .float32 : try forms[home(x)].type
    guard let form = MemoryDescriptor(dimensions, type, .plain),
      let primitive = Primitive(.softmax(form, axis: axis))
    else { return false }
    let source = try value(x, .plain, type)
    let target = try makeBuffer(y, .plain, type, successorOf: source)
    append(
      primitive,
      [(DNNL.source, form, .buffer(source)), (DNNL.destination, form, .buffer(target))], writes: 1)
    return true
  }

  /// oneDNN's logarithm is 1.4e-6 off at 1, where the right answer is 0.
  private mutating func lowerLogSoftmax(
    _ x: ValueID, _ y: ValueID, _ shape: [Int], _ axis: Int
  ) throws(ModelError) -> Bool {
    let source = try value(x, .plain)
    let target = try makeBuffer(y, .plain, successorOf: source)
    let (size, inner) = (shape[axis], shape[(axis + 1)...].reduce(1, *))
    let lines = size > 0 ? shape.elementCount / size : 0
    let kernel = SwiftKernel { operands in
      let from = operands[0].assumingMemoryBound(to: Float.self)
      let to = operands[1].assumingMemoryBound(to: Float.self)
      for line in 0..<lines {
        let first = line / inner * size * inner + line % inner
        let places = stride(from: first, to: first + size * inner, by: inner)
        let largest = places.reduce(-Float.infinity) { max($0, from[$1]) }
        let sum = places.reduce(Float(0)) { $0 + expf(from[$1] - largest) }
        let shift = largest + logf(sum)
        for place in places { to[place] = from[place] - shift }
      }
    }
    steps.append(
      Plan.Step(kernel: kernel, operands: [.buffer(source), .buffer(target)], writes: 1))
    return true
  }
}
