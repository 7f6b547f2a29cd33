import CKernels
import COneDNN
import Glibc
import Models
import Vocabulary

extension Lowering {
  /// A function of one number, in the layout of its input and in place where that is not needed.
  mutating func lowerUnary(_ node: Node) throws(ModelError) -> Bool {
    guard let x = node.inputs.first ?? nil, let y = node.outputs.first ?? nil,
      constant(x) == nil, try type(x) == .float32
    else { return false }
    if node.operation == "Log" { return try lowerLogarithm(x, y) }
    var name = node.operation
    var (alpha, beta) = (
      node.float("alpha", default: Activation.defaultAlpha(name)), node.float("beta", default: 0.5)
    )
    if name == "Gelu", node.string("approximate", default: "none") == "tanh" { name = "GeluTanh" }
    if name == "Clip" {
      guard let bounds = clipBounds(node) else { return false }
      (alpha, beta) = bounds
    }
    guard let steps = Activation.steps(name, alpha: alpha, beta: beta) else { return false }
    return try lowerActivation(steps, x, y)
  }

  /// oneDNN's logarithm is 1.4e-6 off at 1, where the right answer is 0.
  private mutating func lowerLogarithm(_ x: ValueID, _ y: ValueID) throws(ModelError) -> Bool {
    let source = try value(x, .plain)
    let count = try shape(x).elementCount
    let target = try makeBuffer(y, .plain, successorOf: source)
    let kernel = SwiftKernel { operands in
      let from = operands[0].assumingMemoryBound(to: Float.self)
      let to = operands[1].assumingMemoryBound(to: Float.self)
      for index in 0..<count { to[index] = logf(from[index]) }
    }
    steps.append(
      Plan.Step(kernel: kernel, operands: [.buffer(source), .buffer(target)], writes: 1))
    return true
  }

  /// Functions of one number one after the other, all but the first in place.
  mutating func lowerActivation(
    _ functions: [Activation], _ x: ValueID, _ y: ValueID
  ) throws(ModelError) -> Bool {
    var source = try home(x)
    // Where there are more zeros in the padding than channels, or where they would not stay zeros
    // and oneDNN takes its slowest way, the plain layout is faster.
    if forms[source].layout == .blocked, forms[source].shape[1] % MemoryDescriptor.block != 0,
      forms[source].shape[1] < MemoryDescriptor.block / 2
        || functions.contains(where: { !$0.keepsZero })
    {
      source = try value(x, .plain, forms[source].type)
    }
    let (_, type, layout) = forms[source]
    if try lowerFew(functions.map { kernels_elements($0) }, [source], y) { return true }
    guard let form = descriptor(source), let primitives = Self.primitives(functions, form) else {
      return false
    }
    let target = try makeBuffer(y, layout, type, successorOf: source)
    append(primitives, from: source, to: target, form)
    return true
  }

  /// What is computed number by number where there are few of them in a sample, all but the first
  /// function in place; false where the kernel does not know them all.
  private mutating func lowerFew(
    _ each: [kernels_elements?], _ sources: [Int], _ y: ValueID
  ) throws(ModelError) -> Bool {
    let (shape, type, layout) = forms[sources[0]]
    let known = each.compactMap { $0 }
    guard known.count == each.count, !known.isEmpty, type == .float32,
      shape.elementCount / (model.isBatched[y.index] ? samples : 1) <= Self.fewElements
    else { return false }
    let padded = layout == .plain ? nil : MemoryDescriptor(shape, type, layout)?.byteCount
    let count = padded.map { $0 / 4 } ?? shape.elementCount
    let target = try makeBuffer(y, layout, type, successorOf: sources[0])
    for (place, elements) in known.enumerated() {
      let read = place == 0 ? sources : [target]
      steps.append(
        Plan.Step(
          kernel: ElementsKernel(elements: elements, count: count),
          operands: (read + [target]).map { .buffer($0) }, writes: 1))
    }
    return true
  }

  /// Numbers of a sample that one thread goes through sooner than oneDNN finds its kernel.
  private static let fewElements = 4096

  /// Functions of one number as primitives; nil where oneDNN has none for the type.
  static func primitives(_ functions: [Activation], _ form: MemoryDescriptor) -> [Primitive]? {
    var primitives: [Primitive] = []
    for function in functions {
      guard let primitive = Primitive(.elementwise(function, form)) else { return nil }
      primitives.append(primitive)
    }
    return primitives
  }

  /// Appends functions of one number, all but the first of them in place.
  mutating func append(
    _ primitives: [Primitive], from source: Int, to target: Int, _ form: MemoryDescriptor
  ) {
    for (place, primitive) in primitives.enumerated() {
      append(
        primitive,
        [
          (DNNL.source, form, .buffer(place == 0 ? source : target)),
          (DNNL.destination, form, .buffer(target)),
        ], writes: 1)
    }
  }

  /// Bounds are attributes before opset 11, constant inputs since; nil when a request brings them.
  private func clipBounds(_ node: Node) -> (Float, Float)? {
    func bound(_ index: Int, _ name: String, _ fallback: Float) -> Float? {
      if node.opset < 11 { return node.float(name, default: fallback) }
      guard node.inputs.count > index, let id = node.inputs[index] else { return fallback }
      guard let tensor = constant(id), tensor.type == .float32, tensor.elementCount == 1 else {
        return nil
      }
      return tensor.withElements(as: Float.self) { $0[0] }
    }
    guard let low = bound(1, "min", -.greatestFiniteMagnitude),
      let high = bound(2, "max", .greatestFiniteMagnitude)
    else { return nil }
    return (low, high)
  }

  /// Arithmetic on two tensors, one of which may be smaller and is then repeated.
  mutating func lowerBinary(_ node: Node) throws(ModelError) -> Bool {
    guard node.inputs.count == 2, let a = node.inputs[0], let b = node.inputs[1],
      let y = node.outputs[0], try type(a) == .float32, try type(b) == .float32,
      let algorithm = Self.binaryAlgorithms[node.operation]
    else { return false }
    let result = try shape(y)
    guard !result.isEmpty else { return false }
    let commutes = algorithm != dnnl_binary_sub && algorithm != dnnl_binary_div
    var (first, second) = (a, b)
    let firstShape = try shape(a)
    let leads = constant(a) == nil && firstShape == result
    if !leads {
      guard commutes else { return false }
      swap(&first, &second)
    }
    guard constant(first) == nil, try shape(first) == result else { return false }
    let smaller = try shape(second)
    let padded = [Int](repeating: 1, count: result.count - smaller.count) + smaller
    // The number of samples must make no difference to these choices.
    let isWhole = padded == result && model.isBatched[second.index] == model.isBatched[y.index]
    let isSingle = padded.elementCount == 1 && !model.isBatched[second.index]
    let suitsBlocks = isWhole || isSingle || Self.isForChannels(padded, in: result)
    let (_, type, found) = try forms[home(first)]
    let layout: Layout = suitsBlocks ? found : .plain
    let source = try value(first, layout, type)
    // A single element must not be padded: the zeros would be taken for channels.
    let otherLayout = isSingle ? .plain : layout
    guard let from = descriptor(source), let to = MemoryDescriptor(result, type, layout),
      let other = MemoryDescriptor(padded, type, otherLayout)
    else { return false }
    let operation = Operation.binary(algorithm, from, other, destination: to)
    guard let primitive = Primitive(operation), !primitive.implementation.hasPrefix("ref")
    else { return false }
    let otherForm = Form(layout: otherLayout, type: type)
    guard let operand = try secondOperand(second, padded, other, otherForm) else { return false }
    if isWhole, algorithm != dnnl_binary_div || layout == .plain, case .buffer(let other) = operand,
      try lowerFew([kernels_elements(algorithm)], [source, other], y)
    {
      return true
    }
    let buffer = try makeBuffer(y, layout, type, successorOf: source)
    append(
      primitive,
      [
        (DNNL.source, from, .buffer(source)), (DNNL.second, other, operand),
        (DNNL.destination, to, .buffer(buffer)),
      ], writes: 1)
    return true
  }

  private static let binaryAlgorithms: [String: dnnl_alg_kind_t] = [
    "Add": dnnl_binary_add, "Sum": dnnl_binary_add, "Sub": dnnl_binary_sub,
    "Mul": dnnl_binary_mul, "Div": dnnl_binary_div, "Max": dnnl_binary_max,
    "Min": dnnl_binary_min,
  ]

  /// Whether a smaller operand has one element for each channel, or sample and channel: what else
  /// is repeated, oneDNN gets wrong in blocks of channels.
  private static func isForChannels(_ smaller: [Int], in result: [Int]) -> Bool {
    smaller.count > 2 && smaller[1] == result[1] && result[1] > 1
      && smaller[2...].allSatisfy { $0 == 1 }
  }

  private mutating func secondOperand(
    _ id: ValueID, _ padded: [Int], _ descriptor: MemoryDescriptor, _ form: Form
  ) throws(ModelError) -> Plan.Operand? {
    if let tensor = constant(id) {
      return .weight(
        try model.packedWeight(tensor.reshaped(padded), id, as: descriptor, layer: layer))
    }
    let buffer = try value(id, try shape(id) == padded ? form.layout : .plain, form.type)
    return forms[buffer].layout == form.layout || form.layout == .plain ? .buffer(buffer) : nil
  }

  /// Scale and shift of each channel, as statistics of training give them.
  mutating func lowerBatchNormalization(_ node: Node) throws(ModelError) -> Bool {
    guard let x = node.inputs[0], let y = node.outputs[0], try type(x) == .float32,
      node.outputs.count == 1, try shape(x).count >= 2
    else { return false }
    var parameters: [[Float]] = []
    for input in node.inputs[1...4] {
      guard let input, let tensor = constant(input), tensor.type == .float32 else { return false }
      parameters.append(tensor.withElements(as: Float.self) { Array($0) })
    }
    let epsilon = node.float("epsilon", default: 1e-5)
    let (count, source) = (parameters[0].count, try home(x))
    let scale = (0..<count).map { parameters[0][$0] / (parameters[3][$0] + epsilon).squareRoot() }
    let shift = (0..<count).map { parameters[1][$0] - parameters[2][$0] * scale[$0] }
    let padded = ScaleKernel.padded(count)
    let values = Tensor.make(.float32, [2 * padded], as: Float.self) { elements in
      for index in elements.indices { elements[index] = 0 }
      for index in 0..<count {
        elements[index] = scale[index]
        elements[padded + index] = shift[index]
      }
    }
    let weight = try model.plainWeight(values, y, layer: layer)
    let (shape, type, layout) = forms[source]
    let kernel = ScaleKernel(
      shape: shape, layout: layout, isHalf: type == .bfloat16,
      clampsAtZero: node.string("activation", default: "") == "Relu")
    let target = try makeBuffer(y, layout, type, successorOf: source)
    steps.append(
      Plan.Step(
        kernel: kernel, operands: [.buffer(source), .weight(weight), .buffer(target)], writes: 1))
    return true
  }
}
