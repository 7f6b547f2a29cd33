import COneDNN
import Models
import Reference
import Vocabulary

extension Lowering {
  /// Images made larger or smaller along their last two axes, or their last one.
  mutating func lowerResize(_ node: Node) throws(ModelError) -> Bool {
    guard let x = node.inputs[0], let y = node.outputs[0], constant(x) == nil,
      try type(x) == .float32
    else { return false }
    let (input, output) = (try shape(x), try shape(y))
    guard input.count >= 3, !input.contains(0) else { return false }
    var settings: [Tensor?] = [nil]
    for id in node.inputs.dropFirst() {
      guard let id else {
        settings.append(nil)
        continue
      }
      guard let tensor = constant(id) else { return false }
      settings.append(tensor)
    }
    guard let taps = try Reference.resizeTaps(node, shape: input, settings),
      zip(taps, output).allSatisfy({ $0.count == $1 }),
      taps.dropLast(2).allSatisfy({ line in
        line.enumerated().allSatisfy { $1.count == 1 && $1[0].place == $0 }
      })
    else { return false }
    let kernel = ResizeKernel(
      planes: input.dropLast(2).reduce(1, *), height: input[input.count - 2],
      width: input[input.count - 1], rows: ResizeKernel.Line(taps[taps.count - 2]),
      columns: ResizeKernel.Line(taps[taps.count - 1]))
    let source = try value(x, .plain)
    let target = try makeBuffer(y, .plain)
    steps.append(
      Plan.Step(kernel: kernel, operands: [.buffer(source), .buffer(target)], writes: 1))
    return true
  }

  /// A transposed convolution with its bias.
  mutating func lowerTransposedConvolution(_ node: Node) throws(ModelError) -> Bool {
    guard let x = node.inputs[0], let w = node.inputs[1], let y = node.outputs[0],
      let weights = constant(w), weights.type == .float32, try type(x) == .float32,
      constant(x) == nil, node.int("group", default: 1) == 1,
      node.string("auto_pad", default: "NOTSET") == "NOTSET", node.attributes["output_shape"] == nil
    else { return false }
    let bias = node.inputs.count > 2 ? node.inputs[2] : nil
    let (input, output) = (try shape(x), try shape(y))
    let kernel = Array(weights.shape[2...])
    guard bias.map({ constant($0) != nil }) ?? true, input.count == 4, weights.shape.count == 4
    else { return false }
    let window = try Window(node, kernel: kernel, input: Array(input[2...]))
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
    guard let primitive = Primitive(operation), !primitive.implementation.hasPrefix("ref"),
      let form = primitive.descriptor(dnnl_query_weights_md)
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
    return true
  }

  /// Sums, means and extremes along neighbouring axes.
  mutating func lowerReduction(_ node: Node) throws(ModelError) -> Bool {
    let kinds: [String: ReductionKernel.Kind] = [
      "ReduceSum": .sum, "ReduceMean": .mean, "ReduceMax": .maximum, "ReduceMin": .minimum,
    ]
    guard let x = node.inputs[0], let y = node.outputs[0], constant(x) == nil,
      try type(x) == .float32, let kind = kinds[node.operation]
    else { return false }
    let given = node.inputs.count > 1 ? node.inputs[1] : nil
    guard given.map({ constant($0) != nil }) ?? true,
      let named = node.ints("axes") ?? given.flatMap({ constant($0)?.wholeNumbers }),
      !named.isEmpty
    else { return false }
    let input = try shape(x)
    let axes = named.map { $0 < 0 ? $0 + input.count : $0 }.sorted()
    guard let first = axes.first, let last = axes.last, first >= 0, last < input.count,
      axes == Array(first...last), !input.contains(0)
    else { return false }
    let kernel = ReductionKernel(
      kind: kind, outer: input[..<first].reduce(1, *), size: input[first...last].reduce(1, *),
      inner: input[(last + 1)...].reduce(1, *))
    let source = try value(x, .plain)
    let target = try makeBuffer(y, .plain)
    steps.append(
      Plan.Step(kernel: kernel, operands: [.buffer(source), .buffer(target)], writes: 1))
    return true
  }
}
