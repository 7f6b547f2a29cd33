import Glibc
import Models
import Vocabulary

extension Reference {
  /// Operators that read images at places given as numbers.
  static let sampling: [String: Operator] = [
    "GridSample": gridSample,
    "AffineGrid": affineGrid,
    "RoiAlign": regionAlign,
    "DeformConv": deformableConvolution,
  ]

  /// Jaderberg et al., "Spatial Transformer Networks" (2015), for any number of spatial axes.
  @Sendable private static func gridSample(_ call: Call) throws(ModelError) -> [Tensor?] {
    let (x, grid) = (try call.input(0), try call.input(1))
    let rank = x.shape.count - 2
    guard rank >= 1, grid.shape.count == rank + 2, grid.shape[rank + 1] == rank,
      grid.shape[0] == x.shape[0]
    else { throw call.error("a grid of shape \(grid.shape) does not fit \(x.shape).") }
    let sampler = GridSampler(call, sizes: Array(x.shape[2...]))
    let (values, places) = (x.reals(), grid.reals())
    let plane = Array(x.shape[2...]).elementCount
    let points = Array(grid.shape[1...rank]).elementCount
    _ = try call.sized([x.shape[0], x.shape[1], points])
    var result = [Double](repeating: 0, count: x.shape[0] * x.shape[1] * points)
    for sample in 0..<x.shape[0] {
      for point in 0..<points {
        let start = (sample * points + point) * rank
        let taps = sampler.taps(Array(places[start..<start + rank].reversed()))
        for channel in 0..<x.shape[1] {
          let image = (sample * x.shape[1] + channel) * plane
          result[(sample * x.shape[1] + channel) * points + point] =
            taps.reduce(0) { $0 + $1.weight * values[image + $1.place] }
        }
      }
    }
    return [.from(reals: result, x.type, Array(x.shape[..<2]) + grid.shape[1...rank])]
  }

  /// Where each point of an image comes from under an affine map, between -1 and 1.
  @Sendable private static func affineGrid(_ call: Call) throws(ModelError) -> [Tensor?] {
    let (theta, size) = (try call.input(0), try call.input(1).sizes())
    let rank = size.count - 2
    guard rank >= 1, theta.shape == [size[0], rank, rank + 1], size.allSatisfy({ $0 >= 0 }) else {
      throw call.error("maps of shape \(theta.shape) do not fit size \(size).")
    }
    let corners = call.int("align_corners", default: 0) != 0
    let (values, sizes) = (theta.reals(), Array(size[2...]))
    _ = try call.sized(size)
    var result: [Double] = []
    for sample in 0..<size[0] {
      forEachIndex(of: sizes) { index in
        // Coordinates run from the last axis to the first, then 1.
        let point =
          (0..<rank).map { axis -> Double in
            let (place, length) = (Double(index[rank - 1 - axis]), Double(sizes[rank - 1 - axis]))
            return corners
              ? (length > 1 ? 2 * place / (length - 1) - 1 : -1) : (2 * place + 1) / length - 1
          } + [1]
        for row in 0..<rank {
          let start = (sample * rank + row) * (rank + 1)
          result.append((0...rank).reduce(0) { $0 + values[start + $1] * point[$1] })
        }
      }
    }
    return [.from(reals: result, theta.type, [size[0]] + sizes + [rank])]
  }

  /// The four neighbours of a point and their weights; none where it lies a pixel outside.
  static func bilinearTaps(
    _ y: Double, _ x: Double, _ height: Int, _ width: Int
  ) -> [(place: Int, weight: Double)] {
    guard abs(y) < 1e12, abs(x) < 1e12 else { return [] }
    let (top, left) = (y.rounded(.down), x.rounded(.down))
    let (down, right) = (y - top, x - left)
    var taps: [(place: Int, weight: Double)] = []
    for (row, vertical) in [(Int(top), 1 - down), (Int(top) + 1, down)] {
      for (column, horizontal) in [(Int(left), 1 - right), (Int(left) + 1, right)]
      where (0..<height).contains(row) && (0..<width).contains(column) {
        taps.append((row * width + column, vertical * horizontal))
      }
    }
    return taps
  }

  /// He et al., "Mask R-CNN" (2017): samples spread evenly over every cell of a region.
  @Sendable private static func regionAlign(_ call: Call) throws(ModelError) -> [Tensor?] {
    let (x, regions, owners) = (try call.input(0), try call.input(1), try call.input(2))
    let (height, width) = (
      call.int("output_height", default: 1), call.int("output_width", default: 1)
    )
    guard x.shape.count == 4, regions.shape.count == 2, regions.shape[1] == 4,
      owners.elementCount == regions.shape[0], height > 0, width > 0
    else { throw call.error("regions \(regions.shape) do not fit \(x.shape).") }
    _ = try call.sized([regions.shape[0], x.shape[1], height, width])
    let samples = try checkedIndices(owners, size: x.shape[0], call)
    let fallback = call.node.opset < 16 ? "output_half_pixel" : "half_pixel"
    let mode = call.node.string("coordinate_transformation_mode", default: fallback)
    let shift = mode == "half_pixel" ? 0.5 : 0
    let scale = Double(call.node.float("spatial_scale", default: 1))
    let (values, corners) = (x.reals(), regions.reals())
    let plane = x.shape[2] * x.shape[3]
    let takesMaximum = call.node.string("mode", default: "avg") == "max"
    var result: [Double] = []
    for region in 0..<regions.shape[0] {
      let box = corners[region * 4..<region * 4 + 4].map { $0 * scale - shift }
      let cells = try RegionCells(
        call, box, atLeastOne: shift == 0, height, width,
        ratio: call.int("sampling_ratio", default: 0))
      for channel in 0..<x.shape[1] {
        let image = (samples[region] * x.shape[1] + channel) * plane
        for cell in 0..<height * width {
          let points = cells.points(cell / width, cell % width).map { point in
            RegionCells.taps(point, x.shape[2], x.shape[3]).map {
              $0.weight * values[image + $0.place]
            }
          }
          result.append(
            takesMaximum
              ? points.joined().max() ?? 0
              : points.joined().reduce(0, +) / Double(max(points.count, 1)))
        }
      }
    }
    return [.from(reals: result, x.type, [regions.shape[0], x.shape[1], height, width])]
  }

  /// Dai et al., "Deformable Convolutional Networks" (2017), with the masks of their sequel.
  @Sendable private static func deformableConvolution(
    _ call: Call
  ) throws(ModelError) -> [Tensor?] {
    let (x, w, offsets) = (try call.input(0), try call.input(1), try call.input(2))
    guard x.shape.count == 4, w.shape.count == 4, offsets.shape.count == 4 else {
      throw call.error("X, W and offset must have four axes.")
    }
    let window = try Window(call.node, kernel: Array(w.shape[2...]), input: Array(x.shape[2...]))
    let (groups, parts) = (
      call.int("group", default: 1), call.int("offset_group", default: 1)
    )
    let output = [window.output(0, input: x.shape[2]), window.output(1, input: x.shape[3])]
    let taps = window.kernel.elementCount
    guard offsets.shape == [x.shape[0], parts * 2 * taps] + output, groups > 0, parts > 0,
      w.shape[1] * groups == x.shape[1], w.shape[0] % groups == 0, x.shape[1] % parts == 0
    else { throw call.error("weights \(w.shape) and offsets \(offsets.shape) do not fit.") }
    let (values, weights, shifts) = (x.reals(), w.reals(), offsets.reals())
    let (bias, masks) = (call.optional(3)?.reals(), call.optional(4)?.reals())
    let (area, plane) = (output.elementCount, x.shape[2] * x.shape[3])
    guard bias?.count ?? w.shape[0] == w.shape[0],
      masks?.count ?? offsets.elementCount / 2 == offsets.elementCount / 2
    else { throw call.error("bias or mask does not fit the weights \(w.shape).") }
    var result: [Double] = []
    for line in 0..<x.shape[0] * w.shape[0] {
      let (sample, channel) = (line / w.shape[0], line % w.shape[0])
      let first = channel / (w.shape[0] / groups) * w.shape[1]
      for place in 0..<area {
        var sum = bias?[channel] ?? 0
        for source in 0..<w.shape[1] {
          let part = (first + source) / (x.shape[1] / parts)
          let image = (sample * x.shape[1] + first + source) * plane
          for tap in 0..<taps {
            let entry = (sample * parts + part) * taps + tap
            let (dy, dx) = (
              shifts[2 * entry * area + place], shifts[(2 * entry + 1) * area + place]
            )
            let row = place / output[1] * window.strides[0] - window.before[0]
            let column = place % output[1] * window.strides[1] - window.before[1]
            let y = Double(row + tap / window.kernel[1] * window.dilations[0]) + dy
            let z = Double(column + tap % window.kernel[1] * window.dilations[1]) + dx
            let read = bilinearTaps(y, z, x.shape[2], x.shape[3]).reduce(0) {
              $0 + $1.weight * values[image + $1.place]
            }
            let mask = masks?[entry * area + place] ?? 1
            sum += weights[(channel * w.shape[1] + source) * taps + tap] * read * mask
          }
        }
        result.append(sum)
      }
    }
    return [.from(reals: result, x.type, [x.shape[0], w.shape[0]] + output)]
  }
}

/// The points at which RoiAlign reads a region.
private struct RegionCells {
  private let top: Double
  private let left: Double
  private let cellHeight: Double
  private let cellWidth: Double
  private let rows: Int
  private let columns: Int

  /// A box as left, top, right, bottom.
  init(
    _ call: Call, _ box: [Double], atLeastOne: Bool, _ height: Int, _ width: Int, ratio: Int
  ) throws(ModelError) {
    (left, top) = (box[0], box[1])
    let (tall, wide) = (box[3] - box[1], box[2] - box[0])
    cellHeight = (atLeastOne ? max(tall, 1) : tall) / Double(height)
    cellWidth = (atLeastOne ? max(wide, 1) : wide) / Double(width)
    rows = ratio > 0 ? ratio : max(0, whole(cellHeight.rounded(.up)))
    columns = ratio > 0 ? ratio : max(0, whole(cellWidth.rounded(.up)))
    guard rows <= 1 << 12, columns <= 1 << 12 else {
      throw call.error("region \(box) would be read at \(rows) times \(columns) points per cell.")
    }
  }

  func points(_ row: Int, _ column: Int) -> [(y: Double, x: Double)] {
    (0..<rows * columns).map { point in
      let y = (Double(point / columns) + 0.5) / Double(rows)
      let x = (Double(point % columns) + 0.5) / Double(columns)
      return (top + (Double(row) + y) * cellHeight, left + (Double(column) + x) * cellWidth)
    }
  }

  /// Points less than a pixel outside read the border, others nothing.
  static func taps(
    _ point: (y: Double, x: Double), _ height: Int, _ width: Int
  ) -> [(place: Int, weight: Double)] {
    guard point.y >= -1, point.y <= Double(height), point.x >= -1, point.x <= Double(width) else {
      return []
    }
    let y = min(max(point.y, 0), Double(height - 1))
    let x = min(max(point.x, 0), Double(width - 1))
    return Reference.bilinearTaps(y, x, height, width)
  }
}

/// How GridSample reads a point between pixels.
private struct GridSampler {
  private let sizes: [Int]
  private let steps: [Int]
  private let corners: Bool
  private let mode: String
  private let padding: String

  init(_ call: Call, sizes: [Int]) {
    self.sizes = sizes
    steps = strides(of: sizes)
    corners = call.int("align_corners", default: 0) != 0
    mode = call.node.string("mode", default: "linear")
    padding = call.node.string("padding_mode", default: "zeros")
  }

  /// The pixels of a point between -1 and 1 on every axis, with their weights.
  func taps(_ point: [Double]) -> [(place: Int, weight: Double)] {
    var taps: [(place: Int, weight: Double)] = [(0, 1)]
    for (axis, coordinate) in point.enumerated() {
      let line = lineTaps(coordinate, size: sizes[axis])
      taps = taps.flatMap { tap in
        line.map { (tap.place + $0.place * steps[axis], tap.weight * $0.weight) }
      }
    }
    return taps
  }

  private func lineTaps(_ coordinate: Double, size: Int) -> [(place: Int, weight: Double)] {
    let length = Double(size)
    // Rounded to single precision, as the coordinates are given.
    var x = Double(
      Float(corners ? (coordinate + 1) / 2 * (length - 1) : ((coordinate + 1) * length - 1) / 2))
    if mode == "nearest" { x = x.rounded(.toNearestOrEven) }
    let (low, high) = corners ? (0, length - 1) : (-0.5, length - 0.5)
    if x < low || x > high {
      if padding == "border" { x = min(max(x, 0), length - 1) }
      if padding == "reflection" { x = reflected(x, low, high) }
    }
    guard x.isFinite, abs(x) < 1e9, size > 0 else { return [] }
    let base = x.rounded(.down)
    let taps: [(place: Int, weight: Double)]
    switch mode {
    case "nearest": taps = [(Int(x), 1)]
    case "cubic", "bicubic":
      taps = (-1...2).map { (Int(base) + $0, keysKernel(abs(x - base - Double($0)), -0.75)) }
    default: taps = [(Int(base), 1 - (x - base)), (Int(base) + 1, x - base)]
    }
    return taps.compactMap { tap in
      if (0..<size).contains(tap.place) { return tap }
      switch padding {
      case "border": return (min(max(tap.place, 0), size - 1), tap.weight)
      case "reflection":
        let place = Int(reflected(Double(tap.place), low, high))
        return (min(max(place, 0), size - 1), tap.weight)
      default: return nil
      }
    }
  }

  /// Folds a coordinate back at both borders.
  private func reflected(_ x: Double, _ low: Double, _ high: Double) -> Double {
    let range = high - low
    guard range > 0 else { return low }
    let distance = x < low ? low - x : x - high
    guard distance > 0 else { return x }
    let folds = (distance / range).rounded(.down)
    let rest = distance - folds * range
    let fromLow = (x < low) == (folds.truncatingRemainder(dividingBy: 2) == 0)
    return fromLow ? low + rest : high - rest
  }
}

/// The cubic convolution kernel of Keys (1981).
func keysKernel(_ x: Double, _ a: Double) -> Double {
  if x <= 1 { return ((a + 2) * x - (a + 3)) * x * x + 1 }
  return x < 2 ? ((x - 5) * x + 8) * x * a - 4 * a : 0
}
