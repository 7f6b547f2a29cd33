import Models
import Vocabulary

extension Reference {
  /// Operators that spread elements over windows: what convolutions and pools do, backwards.
  static let transposedConvolutions: [String: Operator] = [
    "ConvTranspose": transposedConvolution,
    "Col2Im": columnsToImage,
    "MaxUnpool": maxUnpool,
  ]

  /// Pairs of a position in a grid and one in an image, for every tap of a window.
  ///
  /// - Returns: For every tap, the pairs that lie inside the image.
  private static func spread(
    _ window: Window, grid: [Int], image: [Int]
  ) -> [[(source: Int, target: Int)]] {
    let steps = strides(of: image)
    var taps: [[(source: Int, target: Int)]] = []
    forEachIndex(of: window.kernel) { tap in
      var pairs: [(source: Int, target: Int)] = []
      var source = 0
      forEachIndex(of: grid) { index in
        let places = index.indices.map {
          index[$0] * window.strides[$0] + tap[$0] * window.dilations[$0] - window.before[$0]
        }
        if places.indices.allSatisfy({ (0..<image[$0]).contains(places[$0]) }) {
          pairs.append((source, places.indices.reduce(0) { $0 + places[$1] * steps[$1] }))
        }
        source += 1
      }
      taps.append(pairs)
    }
    return taps
  }

  @Sendable static func transposedConvolution(
    _ call: Call
  ) throws(ModelError) -> [Tensor?] {
    let (x, w) = (try call.input(0), try call.input(1))
    let groups = call.int("group", default: 1)
    guard x.shape.count >= 3, w.shape.count == x.shape.count, groups > 0,
      w.shape[0] == x.shape[1], x.shape[1] % groups == 0
    else { throw call.error("weights \(w.shape) do not fit input \(x.shape).") }
    let grid = Array(x.shape[2...])
    var window = try Window(call.node, kernel: Array(w.shape[2...]), input: grid)
    let image = try call.sized(try outputSizes(call, &window, grid))
    let taps = spread(window, grid: grid, image: image)
    let (inputs, outputs) = (x.shape[1] / groups, w.shape[1])
    let (values, weights, bias) = (x.reals(), w.reals(), call.optional(2)?.reals())
    guard bias?.count ?? outputs * groups == outputs * groups else {
      throw call.error("the bias does not fit weights \(w.shape).")
    }
    let (area, plane) = (grid.elementCount, image.elementCount)
    let shape = try call.sized([x.shape[0], outputs * groups] + image)
    var result = [Double](repeating: 0, count: shape.elementCount)
    for line in 0..<x.shape[0] * outputs * groups {
      let (sample, channel) = (line / (outputs * groups), line % (outputs * groups))
      if let bias { for place in 0..<plane { result[line * plane + place] = bias[channel] } }
      for source in 0..<inputs {
        let from = channel / outputs * inputs + source
        let start = (sample * x.shape[1] + from) * area
        for (tap, pairs) in taps.enumerated() {
          let weight = weights[(from * outputs + channel % outputs) * taps.count + tap]
          for pair in pairs {
            result[line * plane + pair.target] += weight * values[start + pair.source]
          }
        }
      }
    }
    return [.from(reals: result, x.type, shape)]
  }

  /// The sizes that ConvTranspose makes; settles the padding where they are given.
  private static func outputSizes(
    _ call: Call, _ window: inout Window, _ grid: [Int]
  ) throws(ModelError) -> [Int] {
    let rank = grid.count
    let extra = call.ints("output_padding") ?? [Int](repeating: 0, count: rank)
    let rule = call.node.string("auto_pad", default: "NOTSET")
    var wanted = call.ints("output_shape").map { Array($0.suffix(rank)) }
    if rule.hasPrefix("SAME"), wanted == nil {
      wanted = (0..<rank).map { grid[$0] * window.strides[$0] }
    }
    guard extra.count == rank, wanted?.count ?? rank == rank else {
      throw call.error("output_padding or output_shape does not fit \(rank) axes.")
    }
    var sizes: [Int] = []
    for axis in 0..<rank {
      let reach = window.dilations[axis] * (window.kernel[axis] - 1) + 1
      let full = (grid[axis] - 1) * window.strides[axis] + reach + extra[axis]
      if let size = wanted?[axis] {
        let total = max(0, full - size)
        window.before[axis] = rule == "SAME_UPPER" ? total / 2 : total - total / 2
        sizes.append(size)
      } else {
        sizes.append(full - window.before[axis] - window.after[axis])
      }
    }
    guard sizes.allSatisfy({ $0 > 0 }) else { throw call.error("the output would be \(sizes).") }
    return sizes
  }

  /// Adds up columns of blocks where the blocks lie in the image.
  @Sendable private static func columnsToImage(_ call: Call) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    let image = try call.sized(try call.input(1).sizes())
    let block = try call.sized(try call.input(2).sizes())
    let window = try Window(call.node, kernel: block, input: image)
    let grid = image.indices.map { window.output($0, input: image[$0]) }
    guard x.shape.count == 3, x.shape[1] % block.elementCount == 0,
      x.shape[2] == grid.elementCount
    else { throw call.error("columns \(x.shape) do not fit an image of \(image).") }
    let taps = spread(window, grid: grid, image: image)
    let channels = x.shape[1] / block.elementCount
    let shape = try call.sized([x.shape[0], channels] + image)
    let values = x.reals()
    var result = [Double](repeating: 0, count: shape.elementCount)
    for plane in 0..<x.shape[0] * channels {
      for (tap, pairs) in taps.enumerated() {
        let start = (plane * taps.count + tap) * x.shape[2]
        for pair in pairs {
          result[plane * image.elementCount + pair.target] += values[start + pair.source]
        }
      }
    }
    return [.from(reals: result, x.type, shape)]
  }

  /// Puts maxima back where they came from; everything else is 0.
  @Sendable private static func maxUnpool(_ call: Call) throws(ModelError) -> [Tensor?] {
    let (x, places) = (try call.input(0), try call.input(1))
    guard x.shape == places.shape, x.shape.count >= 3,
      let kernel = call.ints("kernel_shape")
    else { throw call.error("indices \(places.shape) do not fit \(x.shape).") }
    let window = try Window(call.node, kernel: kernel, input: Array(x.shape[2...]))
    let natural = kernel.indices.map {
      (x.shape[2 + $0] - 1) * window.strides[$0] + kernel[$0] - window.before[$0] - window.after[$0]
    }
    let inferred = Array(x.shape[..<2]) + natural
    let shape = call.optional(2)?.sizes() ?? inferred
    guard shape.count == inferred.count, zip(shape, inferred).allSatisfy({ $0 >= $1 }) else {
      throw call.error("the output cannot be \(shape).")
    }
    _ = try call.sized(inferred)
    _ = try call.sized(shape)
    // Indices count within the inferred shape, which may be smaller than the one wanted.
    let steps = strides(of: shape)
    let own = strides(of: inferred)
    var sources = [Int?](repeating: nil, count: shape.elementCount)
    for (source, place) in try checkedIndices(
      places, size: inferred.elementCount, call
    ).enumerated() {
      let target = own.indices.reduce(0) { $0 + place / own[$1] % inferred[$1] * steps[$1] }
      sources[target] = source
    }
    return [x.gathered(shape) { sources[$0] }]
  }
}
