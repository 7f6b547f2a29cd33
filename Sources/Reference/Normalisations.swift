import Glibc
import Models
import Vocabulary

extension Reference {
  /// Normalisations and softmax.
  static let normalisations: [String: Operator] = [
    "BatchNormalization": batchNormalization,
    "InstanceNormalization": instanceNormalization,
    "GroupNormalization": groupNormalization,
    "LayerNormalization": layerNormalization,
    "RMSNormalization": rootMeanSquareNormalization,
    "LpNormalization": lpNormalization,
    "MeanVarianceNormalization": meanVarianceNormalization,
    "LRN": localResponseNormalization,
    "Softmax": softmax(logarithm: false),
    "LogSoftmax": softmax(logarithm: true),
    "Hardmax": hardmax,
  ]

  /// Ioffe and Szegedy, "Batch Normalization" (2015), with the statistics of training.
  @Sendable static func batchNormalization(_ call: Call) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    var parameters: [[Double]] = []
    for index in 1...4 { parameters.append(try call.input(index).reals()) }
    guard x.shape.count >= 2, parameters.allSatisfy({ $0.count == x.shape[1] }) else {
      throw call.error("scale, bias, mean and variance do not fit input \(x.shape).")
    }
    guard call.int("training_mode", default: 0) == 0 else {
      throw call.error("training mode is not supported.")
    }
    let epsilon = Double(call.node.float("epsilon", default: 1e-5))
    let plane = Array(x.shape[2...]).elementCount
    let values = x.reals().enumerated().map { index, value in
      let c = index / plane % x.shape[1]
      let deviation = (parameters[3][c] + epsilon).squareRoot()
      return (value - parameters[2][c]) / deviation * parameters[0][c] + parameters[1][c]
    }
    return [.from(reals: values, x.type, x.shape)]
  }

  /// Takes mean and deviation out of blocks of equal length.
  private static func standardised(
    _ values: [Double], block: Int, epsilon: Double
  ) -> (values: [Double], means: [Double], inverses: [Double]) {
    var (result, means, inverses) = (values, [Double](), [Double]())
    for start in stride(from: 0, to: values.count, by: max(block, 1)) {
      let part = values[start..<start + block]
      let mean = part.reduce(0, +) / Double(block)
      let variance = part.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(block)
      let inverse = 1 / (variance + epsilon).squareRoot()
      means.append(mean)
      inverses.append(inverse)
      for index in start..<start + block { result[index] = (values[index] - mean) * inverse }
    }
    return (result, means, inverses)
  }

  @Sendable private static func instanceNormalization(
    _ call: Call
  ) throws(ModelError) -> [Tensor?] {
    let (x, scale, bias) = (try call.input(0), try call.input(1), try call.input(2))
    let plane = Array(x.shape.dropFirst(2)).elementCount
    let epsilon = Double(call.node.float("epsilon", default: 1e-5))
    let normal = standardised(x.reals(), block: plane, epsilon: epsilon).values
    let (s, b) = (scale.reals(), bias.reals())
    guard x.shape.count >= 2, s.count == x.shape[1], b.count == s.count else {
      throw call.error("scale and bias do not fit input \(x.shape).")
    }
    let values = normal.enumerated().map { index, value in
      let channel = index / plane % x.shape[1]
      return value * s[channel] + b[channel]
    }
    return [.from(reals: values, x.type, x.shape)]
  }

  /// Wu and He, "Group Normalization" (2018); scale and bias were per group before opset 21.
  @Sendable private static func groupNormalization(_ call: Call) throws(ModelError) -> [Tensor?] {
    let (x, scale, bias) = (try call.input(0), try call.input(1), try call.input(2))
    let groups = call.int("num_groups", default: 1)
    guard x.shape.count >= 2, groups > 0, x.shape[1] % groups == 0 else {
      throw call.error("\(groups) groups do not fit input \(x.shape).")
    }
    let plane = Array(x.shape[2...]).elementCount
    let epsilon = Double(call.node.float("epsilon", default: 1e-5))
    let perGroup = x.shape[1] / groups
    let normal = standardised(x.reals(), block: perGroup * plane, epsilon: epsilon).values
    let (s, b) = (scale.reals(), bias.reals())
    guard s.count == groups || s.count == x.shape[1], b.count == s.count else {
      throw call.error("scale and bias do not fit input \(x.shape).")
    }
    let byGroup = s.count == groups && groups != x.shape[1]
    let values = normal.enumerated().map { index, value in
      let channel = index / plane % x.shape[1]
      let place = byGroup ? channel / perGroup : channel
      return value * s[place] + b[place]
    }
    return [.from(reals: values, x.type, x.shape)]
  }

  /// Ba, Kiros and Hinton, "Layer Normalization" (2016).
  @Sendable private static func layerNormalization(_ call: Call) throws(ModelError) -> [Tensor?] {
    let (x, scale) = (try call.input(0), try call.input(1))
    let axis = try call.axis(call.int("axis", default: -1), in: x)
    let block = Array(x.shape[axis...]).elementCount
    let epsilon = Double(call.node.float("epsilon", default: 1e-5))
    let normal = standardised(x.reals(), block: block, epsilon: epsilon)
    let inner = Array(x.shape[axis...])
    let s = try spread(scale, over: inner, call)
    let b = try call.optional(2).map { (tensor) throws(ModelError) in
      try spread(tensor, over: inner, call)
    }
    let values = normal.values.enumerated().map { $1 * s[$0 % block] + (b?[$0 % block] ?? 0) }
    let outer = x.shape[..<axis] + [Int](repeating: 1, count: x.shape.count - axis)
    return [
      .from(reals: values, x.type, x.shape),
      .from(reals: normal.means, .float32, Array(outer)),
      .from(reals: normal.inverses, .float32, Array(outer)),
    ].prefix(max(call.node.outputs.count, 1)).map { $0 }
  }

  /// A parameter broadcast over the normalised axes.
  private static func spread(
    _ tensor: Tensor, over shape: [Int], _ call: Call
  ) throws(ModelError) -> [Double] {
    guard Broadcasting.shape([tensor.shape, shape]) == shape else {
      throw call.error("a parameter of shape \(tensor.shape) does not fit \(shape).")
    }
    let values = tensor.reals()
    return Broadcasting.sources(of: tensor.shape, in: shape).map { values[$0] }
  }

  /// Zhang and Sennrich, "Root Mean Square Layer Normalization" (2019).
  @Sendable private static func rootMeanSquareNormalization(
    _ call: Call
  ) throws(ModelError) -> [Tensor?] {
    let (x, scale) = (try call.input(0), try call.input(1))
    let axis = try call.axis(call.int("axis", default: -1), in: x)
    let inner = Array(x.shape[axis...])
    let block = inner.elementCount
    let epsilon = Double(call.node.float("epsilon", default: 1e-5))
    let s = try spread(scale, over: inner, call)
    var values = x.reals()
    for start in stride(from: 0, to: values.count, by: max(block, 1)) {
      let mean = values[start..<start + block].reduce(0) { $0 + $1 * $1 } / Double(block)
      let inverse = 1 / (mean + epsilon).squareRoot()
      for index in 0..<block { values[start + index] *= inverse * s[index] }
    }
    return [.from(reals: values, x.type, x.shape)]
  }

  static func norm(_ values: [Double], _ p: Double) -> Double {
    pow(values.reduce(0) { $0 + pow(abs($1), p) }, 1 / p)
  }

  @Sendable private static func lpNormalization(_ call: Call) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    let axis = try call.axis(call.int("axis", default: -1), in: x)
    let p = Double(call.int("p", default: 2))
    return [
      alongAxis(x, axis) { line in
        let length = norm(line, p)
        return length == 0 ? line : line.map { $0 / length }
      }
    ]
  }

  @Sendable private static func meanVarianceNormalization(
    _ call: Call
  ) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    var axes: [Int] = []
    for axis in call.ints("axes") ?? [0, 2, 3] {
      axes.append(try call.axis(axis, in: x))
    }
    guard Set(axes).count == axes.count else { throw call.error("axes \(axes) are named twice.") }
    let rest = x.shape.indices.filter { !axes.contains($0) }
    let moved = transposed(x, rest + axes)
    let block = axes.reduce(1) { $0 * x.shape[$1] }
    var values = moved.reals()
    for start in stride(from: 0, to: values.count, by: max(block, 1)) {
      let part = values[start..<start + block]
      let mean = part.reduce(0, +) / Double(block)
      let variance = part.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(block)
      for index in start..<start + block {
        values[index] = (values[index] - mean) / (variance.squareRoot() + 1e-9)
      }
    }
    let order = rest + axes
    let back = x.shape.indices.map { axis in order.firstIndex(of: axis) ?? axis }
    return [transposed(.from(reals: values, x.type, moved.shape), back)]
  }

  /// Krizhevsky, Sutskever and Hinton (2012), across channels.
  @Sendable private static func localResponseNormalization(
    _ call: Call
  ) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    let size = call.int("size", default: 1)
    guard x.shape.count >= 2, size > 0 else { throw call.error("size must be positive.") }
    let alpha = Double(call.node.float("alpha", default: 1e-4))
    let beta = Double(call.node.float("beta", default: 0.75))
    let bias = Double(call.node.float("bias", default: 1))
    return [
      alongAxis(x, 1) { line in
        line.indices.map { channel in
          let low = max(0, channel - (size - 1) / 2)
          let high = min(line.count - 1, channel + size / 2)
          let squares = line[low...high].reduce(0) { $0 + $1 * $1 }
          return line[channel] / pow(bias + alpha / Double(size) * squares, beta)
        }
      }
    ]
  }

  /// Replaces every line along an axis by a function of it.
  static func alongAxis(_ x: Tensor, _ axis: Int, _ function: ([Double]) -> [Double]) -> Tensor {
    var values = x.reals()
    let (size, inner) = (x.shape[axis], Array(x.shape[(axis + 1)...]).elementCount)
    let outer = Array(x.shape[..<axis]).elementCount
    for block in 0..<outer {
      for offset in 0..<inner {
        let places = (0..<size).map { (block * size + $0) * inner + offset }
        for (place, value) in zip(places, function(places.map { values[$0] })) {
          values[place] = value
        }
      }
    }
    return .from(reals: values, x.type, x.shape)
  }

  /// Before opset 13 the axes from `axis` on are taken together, since then one axis alone.
  private static func linear(_ x: Tensor, _ call: Call) throws(ModelError) -> (Tensor, Int) {
    let flat = call.node.opset < 13
    let axis = try call.axis(call.int("axis", default: flat ? 1 : -1), in: x)
    guard flat else { return (x, axis) }
    let rows = Array(x.shape[..<axis]).elementCount
    return (x.reshaped([rows, Array(x.shape[axis...]).elementCount]), 1)
  }

  private static func softmax(logarithm: Bool) -> Operator {
    { (call) throws(ModelError) in
      let x = try call.input(0)
      guard !x.shape.isEmpty else {
        return [.from(reals: [logarithm ? 0 : 1], x.type, [])]
      }
      let (lines, axis) = try linear(x, call)
      let result = alongAxis(lines, axis) { line in
        let highest = line.max() ?? 0
        let sum = line.reduce(0) { $0 + exp($1 - highest) }
        return line.map { logarithm ? $0 - highest - log(sum) : exp($0 - highest) / sum }
      }
      return [result.reshaped(x.shape)]
    }
  }

  @Sendable private static func hardmax(_ call: Call) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    let (lines, axis) = try linear(x, call)
    let result = alongAxis(lines, axis) { line in
      let best = line.indices.max { line[$0] < line[$1] || (line[$0] == line[$1] && $0 > $1) }
      return line.indices.map { $0 == best ? 1 : 0 }
    }
    return [result.reshaped(x.shape)]
  }
}
