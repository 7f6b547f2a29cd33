import Models
import Vocabulary

extension Reference {
  /// Pools over windows and over whole planes.
  static let pooling: [String: Operator] = [
    "MaxPool": maxPool,
    "AveragePool": averagePool,
    "LpPool": lpPool,
    "GlobalAveragePool": global { $0.reduce(0, +) / Double($0.count) },
    "GlobalLpPool": { (call) throws(ModelError) in
      let p = Double(call.int("p", default: 2))
      return try pooled(call) { norm($0, p) }
    },
    "GlobalMaxPool": global { $0.reduce(-.infinity, max) },
  ]

  /// Calls `body` for every window with its output position and the input positions inside it.
  private static func forEachWindow(
    _ call: Call, _ x: Tensor,
    _ body: (_ output: Int, _ plane: Int, _ inside: [Int], _ padded: Int) -> Void
  ) throws(ModelError) -> [Int] {
    guard x.shape.count >= 3, x.shape.count <= 5, let kernel = call.ints("kernel_shape") else {
      throw call.error("an input of rank 3 to 5 and kernel_shape are needed.")
    }
    let window = try Window(call.node, kernel: kernel, input: Array(x.shape[2...]))
    let ceiling = call.int("ceil_mode", default: 0) != 0
    let sizes = kernel.indices.map { window.output($0, input: x.shape[2 + $0], ceiling: ceiling) }
    let shape = try call.sized(Array(x.shape[..<2]) + sizes)
    _ = try call.sized(kernel)
    let (w, input, output) = (window.threeAxes, threeAxes(x.shape), threeAxes(shape))
    var position = 0
    var inside: [Int] = []
    for plane in 0..<input[0] * input[1] {
      forEachIndex(of: Array(output[2...])) { index in
        inside.removeAll(keepingCapacity: true)
        var padded = 0
        forEachIndex(of: w.kernel) { tap in
          let place = (0..<3).map {
            index[$0] * w.strides[$0] + tap[$0] * w.dilations[$0] - w.before[$0]
          }
          if (0..<3).allSatisfy({ place[$0] >= 0 && place[$0] < input[2 + $0] }) {
            inside.append((place[0] * input[3] + place[1]) * input[4] + place[2])
          }
          if (0..<3).allSatisfy({ place[$0] < input[2 + $0] + w.after[$0] }) { padded += 1 }
        }
        body(position, plane, inside, padded)
        position += 1
      }
    }
    return shape
  }

  @Sendable private static func maxPool(_ call: Call) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    let values = x.reals()
    let planeSize = Array(x.shape.dropFirst(2)).elementCount
    let byColumn = call.int("storage_order", default: 0) != 0
    var (best, places) = ([Double](), [Int128]())
    let shape = try forEachWindow(call, x) { _, plane, inside, _ in
      let start = plane * planeSize
      var place = inside.first ?? 0
      for next in inside where values[start + next] > values[start + place] { place = next }
      best.append(inside.isEmpty ? -.infinity : values[start + place])
      places.append(Int128(start + (byColumn ? columnMajor(place, x.shape) : place)))
    }
    let pooled = Tensor.from(reals: best, x.type, shape)
    guard call.node.outputs.count > 1 else { return [pooled] }
    return [pooled, .from(integers: places, .int64, shape)]
  }

  /// A position within a plane, counted with the first spatial axis running fastest.
  private static func columnMajor(_ place: Int, _ shape: [Int]) -> Int {
    var (rest, result, step) = (place, 0, shape.dropFirst(2).reduce(1, *))
    for size in shape.dropFirst(2).reversed() {
      step /= size
      result += rest % size * step
      rest /= size
    }
    return result
  }

  @Sendable private static func averagePool(_ call: Call) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    let values = x.reals()
    let planeSize = Array(x.shape.dropFirst(2)).elementCount
    let countsPads = call.int("count_include_pad", default: 0) != 0
    var means: [Double] = []
    let shape = try forEachWindow(call, x) { _, plane, inside, padded in
      let sum = inside.reduce(0) { $0 + values[plane * planeSize + $1] }
      means.append(sum / Double(countsPads ? padded : max(inside.count, 1)))
    }
    return [.from(reals: means, x.type, shape)]
  }

  @Sendable private static func lpPool(_ call: Call) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    let values = x.reals()
    let planeSize = Array(x.shape.dropFirst(2)).elementCount
    let p = Double(call.int("p", default: 2))
    var norms: [Double] = []
    let shape = try forEachWindow(call, x) { _, plane, inside, _ in
      norms.append(norm(inside.map { values[plane * planeSize + $0] }, p))
    }
    return [.from(reals: norms, x.type, shape)]
  }

  private static func global(_ function: @escaping @Sendable ([Double]) -> Double) -> Operator {
    { (call) throws(ModelError) in try pooled(call, function) }
  }

  /// Makes one number of every plane.
  private static func pooled(
    _ call: Call, _ function: ([Double]) -> Double
  ) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    guard x.shape.count >= 2 else { throw call.error("an input of rank 2 or more is needed.") }
    let plane = Array(x.shape[2...]).elementCount
    let values = x.reals()
    let result = (0..<x.shape[0] * x.shape[1]).map {
      function(Array(values[$0 * plane..<($0 + 1) * plane]))
    }
    let shape = Array(x.shape[..<2]) + [Int](repeating: 1, count: x.shape.count - 2)
    return [.from(reals: result, x.type, shape)]
  }
}
