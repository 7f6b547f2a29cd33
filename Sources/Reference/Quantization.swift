import Glibc
import Models
import Vocabulary

extension Reference {
  /// Numbers kept as small integers with a scale and a zero point.
  static let quantization: [String: Operator] = [
    "QuantizeLinear": quantize,
    "DequantizeLinear": dequantize,
    "DynamicQuantizeLinear": dynamicQuantize,
    "MatMulInteger": integerProduct,
    "QLinearMatMul": quantizedProduct,
    "ConvInteger": integerConvolution,
    "QLinearConv": quantizedConvolution,
  ]

  /// For every element of a tensor, the place of its scale: one for all, one per slice of an axis,
  /// or one per block along it.
  private static func scalePlaces(
    _ call: Call, _ x: Tensor, _ scale: Tensor
  ) throws(ModelError) -> [Int] {
    if scale.elementCount == 1 { return [Int](repeating: 0, count: x.elementCount) }
    let axis = try call.axis(call.int("axis", default: 1), in: x)
    let inner = Array(x.shape[(axis + 1)...]).elementCount
    let size = x.shape[axis]
    if scale.shape.count == 1 {
      guard scale.elementCount == size else {
        throw call.error("\(scale.elementCount) scales do not fit axis \(axis) of \(x.shape).")
      }
      return (0..<x.elementCount).map { $0 / inner % size }
    }
    let block = call.int("block_size", default: 0)
    var expected = x.shape
    if block > 0 { expected[axis] = (size + block - 1) / block }
    guard block > 0, scale.shape == expected else {
      throw call.error("scales of shape \(scale.shape) do not fit \(x.shape).")
    }
    return (0..<x.elementCount).map { index in
      let (outer, place) = (index / inner / size, index / inner % size)
      return (outer * expected[axis] + place / block) * inner + index % inner
    }
  }

  /// The whole numbers that an integer type holds.
  static func bounds(_ type: ElementType, _ call: Call) throws(ModelError) -> ClosedRange<Double> {
    switch type {
    case .uint8: 0...255
    case .int8: -128...127
    case .uint16: 0...65_535
    case .int16: -32_768...32_767
    case .int32: -2_147_483_648...2_147_483_647
    default: throw call.error("\(type.rawValue) is not a type to quantise to.")
    }
  }

  static func saturated(
    _ value: Double, _ zero: Double, _ range: ClosedRange<Double>
  ) -> Double {
    let shifted = value.rounded(.toNearestOrEven) + zero
    return min(max(shifted.isNaN ? 0 : shifted, range.lowerBound), range.upperBound)
  }

  @Sendable private static func quantize(_ call: Call) throws(ModelError) -> [Tensor?] {
    let (x, scale) = (try call.input(0), try call.input(1))
    let zero = call.optional(2)
    let type = try castTarget(call, "output_dtype", fallback: zero?.type ?? .uint8)
    let range = try bounds(type, call)
    let places = try scalePlaces(call, x, scale)
    guard call.optional(2)?.elementCount ?? scale.elementCount == scale.elementCount else {
      throw call.error("there are not as many zero points as scales.")
    }
    let (values, scales, zeros) = (x.floats(), scale.floats(), zero?.reals())
    let result = places.enumerated().map { index, place in
      // Divided in single precision, so that ties fall as they do everywhere else.
      saturated(Double(values[index] / scales[place]), zeros?[place] ?? 0, range)
    }
    return [.from(reals: result, type, x.shape)]
  }

  @Sendable private static func dequantize(_ call: Call) throws(ModelError) -> [Tensor?] {
    let (x, scale) = (try call.input(0), try call.input(1))
    let places = try scalePlaces(call, x, scale)
    guard call.optional(2)?.elementCount ?? scale.elementCount == scale.elementCount else {
      throw call.error("there are not as many zero points as scales.")
    }
    let (values, scales, zeros) = (x.reals(), scale.reals(), call.optional(2)?.reals())
    let result = places.enumerated().map { (values[$0] - (zeros?[$1] ?? 0)) * scales[$1] }
    return [
      .from(reals: result, try castTarget(call, "output_dtype", fallback: scale.type), x.shape)
    ]
  }

  /// Scale and zero point are chosen so that 0 and all elements fit into UINT8.
  @Sendable private static func dynamicQuantize(_ call: Call) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    let values = x.floats()
    let (low, high) = (min(0, values.min() ?? 0), max(0, values.max() ?? 0))
    // Zeros alone have no scale of their own: any will do.
    let scale = high > low ? (high - low) / 255 : 1
    let zero = saturated(Double(-low / scale), 0, 0...255)
    let result = values.map { saturated(Double($0 / scale), zero, 0...255) }
    return [
      .from(reals: result, .uint8, x.shape), .from(floats: [scale], []),
      .from(reals: [zero], .uint8, []),
    ]
  }

  /// A tensor less its zero point, which is one number or one for each slice of an axis.
  static func centred(
    _ x: Tensor, _ zero: Tensor?, axis: Int, _ call: Call
  ) throws(ModelError) -> Tensor {
    var values = x.reals()
    guard let zero else { return .from(reals: values, .float64, x.shape) }
    let zeros = try alongAxis(zero, x, axis: axis, call)
    for index in values.indices { values[index] -= zeros[index] }
    return .from(reals: values, .float64, x.shape)
  }

  /// A parameter repeated for every element: one number, one per slice, or one per line.
  static func alongAxis(
    _ parameter: Tensor, _ x: Tensor, axis: Int, _ call: Call
  ) throws(ModelError) -> [Double] {
    let values = parameter.reals()
    guard !x.shape.isEmpty || values.count == 1 else { throw call.error("a scalar has no axes.") }
    if values.count == 1 { return [Double](repeating: values[0], count: x.elementCount) }
    if parameter.shape.count == 1, values.count == x.shape[axis] {
      let inner = Array(x.shape[(axis + 1)...]).elementCount
      return (0..<x.elementCount).map { values[$0 / inner % x.shape[axis]] }
    }
    guard Broadcasting.shape([parameter.shape, x.shape]) == x.shape else {
      throw call.error("a parameter of shape \(parameter.shape) does not fit \(x.shape).")
    }
    return Broadcasting.sources(of: parameter.shape, in: x.shape).map { values[$0] }
  }

  @Sendable static func integerProduct(_ call: Call) throws(ModelError) -> [Tensor?] {
    let (a, b) = (try call.input(0), try call.input(1))
    let first = try centred(a, call.optional(2), axis: max(0, a.shape.count - 2), call)
    let second = try centred(b, call.optional(3), axis: max(0, b.shape.count - 1), call)
    let sums = try matrixProduct(call, first, second)
    return [.from(reals: sums.reals(), .int32, sums.shape)]
  }

  @Sendable private static func quantizedProduct(_ call: Call) throws(ModelError) -> [Tensor?] {
    let (a, b, zero) = (try call.input(0), try call.input(3), try call.input(7))
    let (rows, columns) = (max(0, a.shape.count - 2), max(0, b.shape.count - 1))
    func real(_ x: Tensor, _ scale: Int, _ axis: Int) throws(ModelError) -> Tensor {
      let scales = try alongAxis(try call.input(scale), x, axis: axis, call)
      let values = try centred(x, call.optional(scale + 1), axis: axis, call).reals()
      return .from(reals: values.indices.map { values[$0] * scales[$0] }, .float64, x.shape)
    }
    let product = try matrixProduct(call, real(a, 1, rows), real(b, 4, columns))
    let scale = try call.number(6)
    let (range, shift) = (try bounds(zero.type, call), try call.number(7))
    let values = product.reals().map { saturated($0 / scale, shift, range) }
    return [.from(reals: values, zero.type, product.shape)]
  }

  @Sendable private static func integerConvolution(_ call: Call) throws(ModelError) -> [Tensor?] {
    let (x, w) = (try call.input(0), try call.input(1))
    let sums = try convolve(
      call, try centred(x, call.optional(2), axis: 0, call).reals(), x.shape,
      try centred(w, call.optional(3), axis: 0, call).reals(), w.shape, bias: nil)
    return [.from(reals: sums.values, .int32, sums.shape)]
  }

  @Sendable private static func quantizedConvolution(
    _ call: Call
  ) throws(ModelError) -> [Tensor?] {
    let (x, w, zero) = (try call.input(0), try call.input(3), try call.input(7))
    let sums = try convolve(
      call, try centred(x, call.optional(2), axis: 0, call).reals(), x.shape,
      try centred(w, call.optional(5), axis: 0, call).reals(), w.shape,
      bias: call.optional(8)?.reals())
    let input = try call.number(1)
    let scales = try call.input(4).reals()
    guard scales.count == 1 || scales.count == sums.shape[1] else {
      throw call.error("\(scales.count) scales do not fit \(sums.shape[1]) channels.")
    }
    let output = try call.number(6)
    let (range, shift) = (try bounds(zero.type, call), try call.number(7))
    let plane = Array(sums.shape[2...]).elementCount
    let values = sums.values.enumerated().map { index, sum in
      let channel = index / plane % sums.shape[1]
      let scale = scales[scales.count == 1 ? 0 : channel]
      return saturated(sum * input * scale / output, shift, range)
    }
    return [.from(reals: values, zero.type, sums.shape)]
  }
}
