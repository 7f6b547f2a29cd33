import Glibc
public import Models
import Vocabulary

extension Reference {
  /// Operators that change the size of images.
  static let resizing: [String: Operator] = ["Resize": resize, "Upsample": resize]

  /// What each output place along each axis is made of, for kernels that do the same.
  ///
  /// - Parameters:
  ///   - shape: The shape of the input.
  ///   - settings: The node's inputs, the first of which is not looked at.
  /// - Returns: For each axis and output place the input places with their weights; nil where some
  ///   outputs lie outside the image.
  /// - Throws: `ModelError`, when the settings do not fit the shape.
  public static func resizeTaps(
    _ node: Node, shape: [Int], _ settings: [Tensor?]
  ) throws(ModelError) -> [[[(place: Int, weight: Double)]]]? {
    let plan = try ResizePlan(Call(node: node, inputs: settings), shape)
    var found: [[[(place: Int, weight: Double)]]] = []
    for (line, size) in zip(plan.axes, shape) {
      if line.isIdentity(size) {
        found.append((0..<size).map { [($0, 1)] })
        continue
      }
      let taps = (0..<line.output).map { line.taps(of: $0) }
      guard taps.allSatisfy({ $0 != nil }) else { return nil }
      found.append(taps.compactMap { $0 })
    }
    return found
  }

  @Sendable private static func resize(_ call: Call) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    let plan = try ResizePlan(call, x.shape)
    _ = try call.sized(plan.axes.map(\.output))
    guard x.elementCount > 0 else { throw call.error("an empty tensor cannot be resized.") }
    var (values, shape) = (x.reals(), x.shape)
    for axis in x.shape.indices {
      let line = plan.axes[axis]
      if line.isIdentity(shape[axis]) { continue }
      let taps = (0..<line.output).map { line.taps(of: $0) }
      let (size, inner) = (shape[axis], Array(shape[(axis + 1)...]).elementCount)
      shape[axis] = line.output
      values = (0..<shape.elementCount).map { position in
        let (block, offset) = (position / inner, position % inner)
        guard let taps = taps[block % line.output] else { return plan.extrapolation }
        let start = block / line.output * size
        return taps.reduce(0) { $0 + $1.weight * values[(start + $1.place) * inner + offset] }
      }
    }
    if !x.type.isReal {
      values = values.map { $0.rounded(.toNearestOrEven) }
      if x.type.byteSize <= 4, x.type != .uint32, x.type != .bool {
        let range = try bounds(x.type, call)
        values = values.map { min(max($0, range.lowerBound), range.upperBound) }
      }
    }
    return [.from(reals: values, x.type, shape)]
  }
}

/// How every axis of a tensor is resized.
private struct ResizePlan {
  private(set) var axes: [ResizeAxis] = []
  let extrapolation: Double

  init(_ call: Call, _ shape: [Int]) throws(ModelError) {
    let node = call.node
    let isNew = node.opset >= 11 && node.operation == "Resize"
    extrapolation = Double(node.float("extrapolation_value", default: 0))
    var named: [Int] = []
    for axis in node.ints("axes") ?? Array(shape.indices) {
      named.append(try call.axis(axis, rank: shape.count))
    }
    let scaleInput = call.optional(isNew ? 2 : 1)
    var given = node.floats("scales")?.map { Double($0) } ?? scaleInput?.reals() ?? []
    let sizes = (isNew ? call.optional(3) : nil)?.sizes() ?? []
    guard given.count == named.count || sizes.count == named.count else {
      throw call.error("neither scales nor sizes fit \(named.count) axes.")
    }
    let usesSizes = sizes.count == named.count && !sizes.isEmpty
    var outputs = sizes
    if usesSizes {
      given = named.indices.map { Double(sizes[$0]) / Double(max(shape[named[$0]], 1)) }
      let policy = node.string("keep_aspect_ratio_policy", default: "stretch")
      if policy != "stretch", let low = given.min(), let high = given.max() {
        let scale = policy == "not_larger" ? low : high
        given = given.map { _ in scale }
        outputs = named.map { whole((scale * Double(shape[$0]) + 0.5).rounded(.down)) }
      }
    } else {
      outputs = named.indices.map { whole((Double(shape[named[$0]]) * given[$0]).rounded(.down)) }
    }
    guard given.allSatisfy({ $0 > 0 && $0.isFinite }), outputs.allSatisfy({ $0 >= 0 }) else {
      throw call.error("scales \(given) cannot be applied.")
    }
    let roi = (isNew ? call.optional(1) : nil)?.reals() ?? []
    axes = shape.map { ResizeAxis(call, input: $0, output: $0, scale: 1, isNew: isNew) }
    for (place, axis) in named.enumerated() {
      axes[axis].output = outputs[place]
      axes[axis].scale = given[place]
      if roi.count == 2 * named.count { axes[axis].region = (roi[place], roi[named.count + place]) }
    }
  }
}

/// How one axis is resized: which inputs, with which weights, make an output.
private struct ResizeAxis {
  let input: Int
  var output: Int
  var scale: Double
  var region = (0.0, 1.0)
  private let mode: String
  private let nearest: String
  private let transformation: String
  private let cubic: Double
  private let antialias: Bool
  private let excludesOutside: Bool

  init(_ call: Call, input: Int, output: Int, scale: Double, isNew: Bool) {
    let node = call.node
    (self.input, self.output, self.scale) = (input, output, scale)
    mode = node.string("mode", default: "nearest")
    nearest = isNew ? node.string("nearest_mode", default: "round_prefer_floor") : "floor"
    transformation =
      isNew
      ? node.string("coordinate_transformation_mode", default: "half_pixel") : "asymmetric"
    cubic = Double(node.float("cubic_coeff_a", default: -0.75))
    antialias = node.int("antialias", default: 0) != 0
    excludesOutside = node.int("exclude_outside", default: 0) != 0
  }

  func isIdentity(_ size: Int) -> Bool {
    output == size && abs(scale - 1) < 1e-9
      && (transformation != "tf_crop_and_resize" || region == (0.0, 1.0))
  }

  /// Where an output lies among the inputs.
  private func coordinate(_ place: Int) -> Double {
    let (place, size) = (Double(place), Double(input))
    let width = scale * size
    switch transformation {
    case "align_corners": return width == 1 ? 0 : place * (size - 1) / (width - 1)
    case "asymmetric": return place / scale
    case "tf_crop_and_resize":
      let reach = (region.1 - region.0) * (size - 1)
      return region.0 * (size - 1) + (width == 1 ? reach / 2 : place * reach / (width - 1))
    case "pytorch_half_pixel": return output == 1 ? 0 : (place + 0.5) / scale - 0.5
    case "half_pixel_symmetric":
      return size / 2 * (1 - Double(output) / width) + (place + 0.5) / scale - 0.5
    default: return (place + 0.5) / scale - 0.5
    }
  }

  /// The inputs of an output, or nil where the output lies outside the region.
  func taps(of place: Int) -> [(place: Int, weight: Double)]? {
    let x = coordinate(place)
    guard abs(x) < 1e12 else { return nil }
    if transformation == "tf_crop_and_resize", x < 0 || x > Double(input - 1) { return nil }
    if mode == "nearest" { return [(bounded(nearestPlace(x)), 1)] }
    let stretch = antialias ? min(scale, 1) : 1
    let radius = (mode == "cubic" ? 2 : 1) / stretch
    var taps: [(place: Int, weight: Double)] = []
    for tap in Int((x - radius).rounded(.up))...Int((x + radius).rounded(.down)) {
      let weight = kernel(abs(Double(tap) - x) * stretch)
      if excludesOutside, !(0..<input).contains(tap) { continue }
      taps.append((bounded(tap), weight))
    }
    let sum = taps.reduce(0) { $0 + $1.weight }
    guard antialias || excludesOutside, sum != 0 else { return taps }
    return taps.map { ($0.place, $0.weight / sum) }
  }

  private func bounded(_ place: Int) -> Int { min(max(place, 0), input - 1) }

  private func nearestPlace(_ x: Double) -> Int {
    switch nearest {
    case "floor": Int(x.rounded(.down))
    case "ceil": Int(x.rounded(.up))
    case "round_prefer_ceil": Int((x + 0.5).rounded(.down))
    default: Int((x - 0.5).rounded(.up))
    }
  }

  private func kernel(_ x: Double) -> Double {
    mode == "cubic" ? keysKernel(x, cubic) : max(0, 1 - x)
  }
}
