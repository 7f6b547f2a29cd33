import Models
import Vocabulary

extension Reference {
  /// What the folding of quantisation nodes makes: real arithmetic on what 8-bit integers stand
  /// for, rounded to integers once, at the end.
  ///
  /// Inputs stand in threes: integers, scale, zero point. Scale and zero point of the result
  /// follow; without them the result is real. The last input is a real bias.
  static let fusedQuantization: [String: Operator] = [
    "stowage.QuantizedConv": { (call) throws(ModelError) in
      let (x, w) = (try real(call, 0, axis: 0), try real(call, 3, axis: 0))
      let sum = try convolve(
        call, x.reals(), x.shape, w.reals(), w.shape, bias: call.optional(8)?.reals())
      return [try requantized(call, sum.values, sum.shape, scale: 6)]
    },
    "stowage.QuantizedMatMul": { (call) throws(ModelError) in
      let isTransposed = call.int("transB", default: 0) != 0
      let (a, w) = (try real(call, 0, axis: 0), try call.input(3))
      var b = try real(call, 3, axis: isTransposed ? 0 : max(0, w.shape.count - 1))
      if isTransposed { b = transposed(b, [1, 0]) }
      var sum = try matrixProduct(call, a, b)
      if let bias = call.optional(8) {
        let added = Tensor.from(reals: bias.reals(), .float64, bias.shape)
        sum = try combine(call, sum, added, real: { $0 + $1 }, integer: { $0 + $1 })
      }
      return [try requantized(call, sum.reals(), sum.shape, scale: 6)]
    },
    "stowage.QuantizedAdd": { (call) throws(ModelError) in
      [try elementwise(call, real: { $0 + $1 })]
    },
    "stowage.QuantizedMul": { (call) throws(ModelError) in
      [try elementwise(call, real: { $0 * $1 })]
    },
    "stowage.QuantizedGlobalAveragePool": { (call) throws(ModelError) in
      let x = try call.input(0)
      guard x.shape.count >= 3 else { throw call.error("\(x.shape) has no plane.") }
      let (plane, zero) = (x.shape[2...].reduce(1, *), try call.number(2))
      let ratio = try call.number(1) / call.number(3)
      let (values, result) = (x.reals(), try call.input(4))
      let range = try bounds(result.type, call)
      let shift = try call.number(4)
      let means = (0..<x.shape[0] * x.shape[1]).map { line in
        let sum = values[line * plane..<(line + 1) * plane].reduce(0, +)
        return saturated((sum / Double(plane) - zero) * ratio, shift, range)
      }
      let shape = Array(x.shape[..<2]) + [Int](repeating: 1, count: x.shape.count - 2)
      return [.from(reals: means, result.type, shape)]
    },
    "stowage.Lookup": { (call) throws(ModelError) in
      let (x, table) = (try call.input(0), try call.input(1))
      guard [.int8, .uint8].contains(x.type), [.int8, .uint8].contains(table.type),
        table.elementCount == 256
      else { throw call.error("one of 256 elements is looked up by 8 bits.") }
      return [
        .make(table.type, x.shape, as: UInt8.self) { target in
          table.withElements(as: UInt8.self) { entries in
            x.withElements(as: UInt8.self) { places in
              for index in target.indices { target[index] = entries[Int(places[index])] }
            }
          }
        }
      ]
    },
    "stowage.ScaledMatMulInteger": { (call) throws(ModelError) in
      let sums = try integerProduct(call)[0]
      guard let sums else { throw call.error("the product is missing.") }
      let floats = Tensor.from(reals: sums.reals(), .float32, sums.shape)
      var result = try combine(
        call, floats, try call.input(4), real: { $0 * $1 }, integer: { $0 &* $1 })
      if let bias = call.optional(5) {
        result = try combine(call, result, bias, real: { $0 + $1 }, integer: { $0 + $1 })
      }
      return [result]
    },
  ]

  /// What integers stand for, in double precision.
  private static func real(
    _ call: Call, _ index: Int, axis: Int
  ) throws(ModelError) -> Tensor {
    let x = try call.input(index)
    let centred = try centred(x, call.optional(index + 2), axis: axis, call).reals()
    let scales = try alongAxis(try call.input(index + 1), x, axis: axis, call)
    return .from(reals: centred.indices.map { centred[$0] * scales[$0] }, .float64, x.shape)
  }

  /// As files spell it: dequantised, combined and quantised, each in single precision.
  private static func elementwise(
    _ call: Call, real function: @escaping (Double, Double) -> Double
  ) throws(ModelError) -> Tensor {
    func single(_ index: Int) throws(ModelError) -> Tensor {
      let exact = try real(call, index, axis: 0)
      return .from(reals: exact.reals(), .float32, exact.shape)
    }
    let sum = try combine(
      call, try single(0), try single(3), real: function, integer: { first, _ in first })
    return try requantized(call, sum.reals(), sum.shape, scale: 6, inSinglePrecision: true)
  }

  /// Applies the activation, and rounds to integers where scale and zero point are given.
  private static func requantized(
    _ call: Call, _ values: [Double], _ shape: [Int], scale index: Int,
    inSinglePrecision: Bool = false
  ) throws(ModelError) -> Tensor {
    let activation = try activation(of: call)
    let values = activation.map { values.map($0) } ?? values
    guard call.optional(index) != nil else { return .from(reals: values, .float32, shape) }
    let (scale, zero) = (try call.number(index), try call.input(index + 1))
    let (range, shift) = (try bounds(zero.type, call), try call.number(index + 1))
    let steps = values.map { value in
      let quotient =
        inSinglePrecision ? Double(Float(value) / Float(scale)) : value / scale
      return saturated(quotient, shift, range)
    }
    return .from(reals: steps, zero.type, shape)
  }
}
