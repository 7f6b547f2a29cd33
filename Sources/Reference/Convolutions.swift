import Models
import Vocabulary

extension Reference {
  /// Convolutions.
  static let convolutions: [String: Operator] = [
    "Conv": { (call) throws(ModelError) in
      let type = try call.input(0).type
      let sum = try convolve(call)
      return [.from(reals: sum.values, type, sum.shape)]
    }
  ]

  /// Sums the convolution of inputs X, W and B: FP64 in its own precision, others in single.
  static func convolve(_ call: Call) throws(ModelError) -> (values: [Double], shape: [Int]) {
    let (x, w, bias) = (try call.input(0), try call.input(1), call.optional(2))
    if x.type == .float64 {
      return try convolve(call, x.reals(), x.shape, w.reals(), w.shape, bias: bias?.reals())
    }
    let sum = try convolve(call, x.floats(), x.shape, w.floats(), w.shape, bias: bias?.floats())
    return (sum.values.map { Double($0) }, sum.shape)
  }

  /// Sums a convolution in the precision of its elements.
  static func convolve<Real: BinaryFloatingPoint>(
    _ call: Call, _ x: [Real], _ shape: [Int], _ weights: [Real], _ weightShape: [Int],
    bias: [Real]?
  ) throws(ModelError) -> (values: [Real], shape: [Int]) {
    let groups = call.int("group", default: 1)
    guard shape.count >= 3, shape.count <= 5, weightShape.count == shape.count, groups > 0,
      weightShape[1] * groups == shape[1], weightShape[0] % groups == 0,
      bias?.count ?? weightShape[0] == weightShape[0]
    else {
      throw call.error("weights \(weightShape) in \(groups) groups do not fit input \(shape).")
    }
    let window = try Window(call.node, kernel: Array(weightShape[2...]), input: Array(shape[2...]))
    let output = (0..<window.kernel.count).map { window.output($0, input: shape[2 + $0]) }
    let full = try call.sized([shape[0], weightShape[0]] + output)
    guard output.allSatisfy({ $0 > 0 }) else {
      throw call.error("the kernel is larger than the padded input \(shape).")
    }
    var result = [Real](repeating: 0, count: full.elementCount)
    let job = DirectConvolution(
      window: window.threeAxes, input: threeAxes(shape), output: threeAxes(full), groups: groups)
    for sample in 0..<shape[0] {
      for channel in 0..<full[1] {
        job.run(sample, channel, x, weights, bias?[channel] ?? 0, &result)
      }
    }
    return (result, full)
  }

  /// Batch, channels and exactly three spatial sizes.
  static func threeAxes(_ shape: [Int]) -> [Int] {
    Array(shape[..<2]) + [Int](repeating: 1, count: 5 - shape.count) + shape[2...]
  }
}

/// A convolution by its definition, a row of outputs at a time.
private struct DirectConvolution {
  let window: Window
  let input: [Int]
  let output: [Int]
  let groups: Int

  func run<Real: BinaryFloatingPoint>(
    _ sample: Int, _ channel: Int, _ x: [Real], _ w: [Real], _ bias: Real,
    _ result: inout [Real]
  ) {
    let perGroup = input[1] / groups
    let first = channel / (output[1] / groups) * perGroup
    let plane = output[2] * output[3] * output[4]
    let start = (sample * output[1] + channel) * plane
    for index in start..<start + plane { result[index] = bias }
    let taps = window.kernel.elementCount
    for source in 0..<perGroup {
      let weights = (channel * perGroup + source) * taps
      let image = (sample * input[1] + first + source) * input[2] * input[3] * input[4]
      forEachTap { tap, offset in
        addTap(x, w[weights + tap], image, offset, start, &result)
      }
    }
  }

  private func forEachTap(_ body: (Int, (Int, Int, Int)) -> Void) {
    var tap = 0
    for depth in 0..<window.kernel[0] {
      for row in 0..<window.kernel[1] {
        for column in 0..<window.kernel[2] {
          body(tap, (depth, row, column))
          tap += 1
        }
      }
    }
  }

  private func addTap<Real: BinaryFloatingPoint>(
    _ x: [Real], _ weight: Real, _ image: Int, _ tap: (Int, Int, Int), _ start: Int,
    _ result: inout [Real]
  ) {
    let shift = tap.2 * window.dilations[2] - window.before[2]
    let step = window.strides[2]
    let low = shift >= 0 ? 0 : (-shift + step - 1) / step
    let high = min(output[4], (input[4] - shift + step - 1) / step)
    guard low < high else { return }
    for depth in 0..<output[2] {
      let z = depth * window.strides[0] + tap.0 * window.dilations[0] - window.before[0]
      guard z >= 0, z < input[2] else { continue }
      for row in 0..<output[3] {
        let y = row * window.strides[1] + tap.1 * window.dilations[1] - window.before[1]
        guard y >= 0, y < input[3] else { continue }
        let line = image + (z * input[3] + y) * input[4] + shift
        let target = start + (depth * output[3] + row) * output[4]
        x.withUnsafeBufferPointer { x in
          result.withUnsafeMutableBufferPointer { result in
            for column in low..<high { result[target + column] += weight * x[line + column * step] }
          }
        }
      }
    }
  }
}
