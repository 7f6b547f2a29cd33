import Compiler
import Models
import Vocabulary

/// What an integer product or convolution reads, wherever its operator has it.
struct QuantizedOperands {
  var x: ValueID
  var w: ValueID
  /// The zero point of `x`: known, or brought by a request.
  var zero: Int32
  var dynamicZero: ValueID?
  /// The weights, where they are known, and their zero points: one, or one for each output.
  var weights: Tensor?
  var weightZeros: [Int32]
  /// The scale of `x`.
  var scale: Float = 1
  /// The scale of the weights, or one for each output; none for plain sums.
  var weightScales: [Float] = []
  /// Scale and zero point of the result; without them it is real.
  var result: (scale: Float, zero: Int32, type: ElementType)?
  /// One number for each output: real, or in steps of the product of both scales.
  var bias: Tensor?

  /// Nil where something that kernels take as constant is not.
  init?(_ node: Node, _ lowering: Lowering) {
    let isPlain = ["MatMulInteger", "ScaledMatMulInteger", "ConvInteger"].contains(node.operation)
    func input(_ index: Int) -> ValueID? { index < node.inputs.count ? node.inputs[index] : nil }
    guard let x = input(0), let w = input(isPlain ? 1 : 3) else { return nil }
    (self.x, self.w) = (x, w)
    weights = lowering.constant(w)
    zero = 0
    if let id = input(2) {
      if let tensor = lowering.constant(id) {
        guard tensor.elementCount == 1, let value = tensor.bytes?.first else { return nil }
        zero = value
      } else {
        guard lowering.facts[id.index].fixedShape?.elementCount == 1 else { return nil }
        dynamicZero = id
      }
    }
    weightZeros = [0]
    if let id = input(isPlain ? 3 : 5) {
      guard let zeros = lowering.constant(id), zeros.shape.count <= 1, let values = zeros.bytes
      else { return nil }
      weightZeros = Set(values).count == 1 ? [values[0]] : values
    }
    guard !isPlain else { return }
    guard let xScale = input(1).flatMap({ lowering.constant($0)?.singles }), xScale.count == 1,
      let scales = input(4).flatMap({ lowering.constant($0) }), scales.shape.count <= 1,
      let weightScales = scales.singles
    else { return nil }
    scale = xScale[0]
    self.weightScales = weightScales
    if let id = input(6) {
      guard let scale = lowering.constant(id)?.singles, scale.count == 1,
        let zero = input(7).flatMap({ lowering.constant($0) }), let value = zero.bytes?.first,
        zero.elementCount == 1
      else { return nil }
      result = (scale[0], value, zero.type)
    }
    if let id = input(8) {
      guard let bias = lowering.constant(id) else { return nil }
      self.bias = bias
    }
  }

  /// The number of steps of the result, or of real units, in one unit of each output's sum.
  func factors(_ count: Int) -> [Float] {
    (0..<count).map { output in
      let weight = weightScales.count == 1 ? weightScales[0] : weightScales[output]
      return Float(Double(scale) * Double(weight) / Double(result?.scale ?? 1))
    }
  }

  /// The bias in units of each output's sum; nil where there is none.
  func biasInSums(_ count: Int) -> [Double]? {
    guard let bias else { return nil }
    return (0..<count).map { output in
      if bias.type == .int32 { return bias.withElements(as: Int32.self) { Double($0[output]) } }
      let weight = weightScales.count == 1 ? weightScales[0] : weightScales[output]
      let real = bias.withElements(as: Float.self) { Double($0[output]) }
      return real / (Double(scale) * Double(weight))
    }
  }

  /// Whether scales, zero points and bias are there for so many outputs, in types that are known.
  func fit(_ outputs: Int) -> Bool {
    [1, outputs].contains(weightZeros.count)
      && (weightScales.isEmpty || [1, outputs].contains(weightScales.count))
      && (bias.map { $0.elementCount == outputs && [.int32, .float32].contains($0.type) } ?? true)
  }

  /// Weights less their zero points as INT8, with outputs along an axis; nil where they do not fit.
  ///
  /// UINT8 whose zero point lies near 128 does not always: then they are moved by 128.
  func centredWeights(axis: Int) -> Tensor? {
    guard let weights, let values = weights.bytes else { return nil }
    if weights.type == .int8, weightZeros == [0] { return weights }
    let (size, inner) = (weights.shape[axis], weights.shape[(axis + 1)...].reduce(1, *))
    let zeros = weightZeros
    let centred = values.indices.map { index in
      values[index] - (zeros.count == 1 ? zeros[0] : zeros[index / inner % size])
    }
    guard centred.allSatisfy({ (-128...127).contains($0) }) else { return nil }
    return .int8s(centred, weights.shape)
  }

  /// Weights as INT8, moved by 128 if they are UINT8, and their zero points moved like them.
  func movedWeights() -> (weights: Tensor, zeros: [Int32])? {
    guard let weights, let values = weights.bytes else { return nil }
    if weights.type == .int8 { return (weights, weightZeros) }
    return (.int8s(values.map { $0 - 128 }, weights.shape), weightZeros.map { $0 - 128 })
  }
}

extension Tensor {
  /// The elements of 8-bit integers.
  var bytes: [Int32]? {
    switch type {
    case .int8: withElements(as: Int8.self) { $0.map(Int32.init) }
    case .uint8: withElements(as: UInt8.self) { $0.map(Int32.init) }
    default: nil
    }
  }

  /// The elements of an FP32 tensor.
  var singles: [Float]? {
    type == .float32 ? withElements(as: Float.self) { Array($0) } : nil
  }

  /// An INT8 tensor.
  static func int8s(_ values: [Int32], _ shape: [Int]) -> Tensor {
    make(.int8, shape, as: Int8.self) { elements in
      for index in elements.indices { elements[index] = Int8(truncatingIfNeeded: values[index]) }
    }
  }
}

extension Lowering {
  /// What an activation cuts real results to; nil where it does more.
  func realRange(_ node: Node) -> (low: Float, high: Float)? {
    switch node.string("activation", default: "") {
    case "": (-.infinity, .infinity)
    case "Relu": (0, .infinity)
    case "Clip":
      (node.float("alpha", default: -.infinity), node.float("beta", default: .infinity))
    default: nil
    }
  }
}
