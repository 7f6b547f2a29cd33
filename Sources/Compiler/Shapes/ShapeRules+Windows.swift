import Models
import Vocabulary

extension ShapeRules {
  static let windows: [String: ShapeRule] = [
    "Conv": conv, "ConvTranspose": convTranspose, "MaxPool": pool, "AveragePool": pool,
    "LpPool": pool, "GlobalAveragePool": globalPool, "GlobalMaxPool": globalPool,
    "GlobalLpPool": globalPool, "Resize": resize, "Upsample": resize, "GridSample": gridSample,
  ]

  /// The geometry of windows that slide over the spatial dimensions.
  struct Window {
    var strides: [Int]
    var dilations: [Int]
    var padsBegin: [Int]
    var padsEnd: [Int]
    var automatic: String

    init(_ facts: NodeFacts, spatial: Int) throws(ModelError) {
      let node = facts.node
      strides = node.ints("strides") ?? Array(repeating: 1, count: spatial)
      dilations = node.ints("dilations") ?? Array(repeating: 1, count: spatial)
      let pads = node.ints("pads") ?? Array(repeating: 0, count: spatial * 2)
      automatic = node.string("auto_pad", default: "NOTSET")
      let limit = 1 << 30
      guard strides.count == spatial, dilations.count == spatial, pads.count == spatial * 2,
        (strides + dilations).allSatisfy({ $0 > 0 && $0 < limit }),
        pads.allSatisfy({ abs(max($0, -limit)) < limit })
      else {
        throw facts.refusal("has strides, dilations or pads that do not fit \(spatial) axes")
      }
      padsBegin = Array(pads[..<spatial])
      padsEnd = Array(pads[spatial...])
    }

    /// The number of window positions along one axis.
    func count(
      _ axis: Int, of input: Dimension, kernel: Dimension, roundsUp: Bool, _ sizes: SizeAlgebra
    ) -> Dimension {
      let stride: Dimension = .fixed(strides[axis])
      if automatic == "SAME_UPPER" || automatic == "SAME_LOWER" {
        return sizes.divideRoundingUp(input, by: stride)
      }
      let isValid = automatic == "VALID"
      let pads = isValid ? 0 : padsBegin[axis] + padsEnd[axis]
      let reach = sizes.add(
        sizes.multiply(sizes.subtract(kernel, .fixed(1)), .fixed(dilations[axis])), .fixed(1))
      let room = sizes.subtract(sizes.add(input, .fixed(pads)), reach)
      guard roundsUp else { return sizes.add(sizes.divide(room, by: stride), .fixed(1)) }
      let count = sizes.add(sizes.divideRoundingUp(room, by: stride), .fixed(1))
      // The last window has to start inside the input or the padding before it.
      if case .fixed(let windows) = count, case .fixed(let size) = input, windows > 0,
        (windows - 1) * strides[axis] >= size + (isValid ? 0 : padsBegin[axis])
      {
        return .fixed(windows - 1)
      }
      return count
    }
  }

  static func conv(_ facts: inout NodeFacts) throws(ModelError) {
    guard let input = facts.shape(0), let weight = facts.shape(1) else {
      facts.set(0, facts.type(0), facts.rank(0).map { facts.unknown($0) })
      return
    }
    guard input.count == weight.count, input.count >= 3 else {
      throw facts.refusal("cannot convolve \(input.text) with \(weight.text)")
    }
    let groups = facts.node.int("group", default: 1)
    if case .fixed(let channels) = input[1], case .fixed(let perGroup) = weight[1] {
      let (needed, overflow) = perGroup.multipliedReportingOverflow(by: groups)
      guard !overflow, needed == channels, groups > 0 else {
        throw facts.refusal("cannot convolve \(input.text) with \(weight.text) in \(groups) groups")
      }
    }
    let spatial = input.count - 2
    let window = try Window(facts, spatial: spatial)
    var output = [input[0], weight[0]]
    for axis in 0..<spatial {
      output.append(
        window.count(
          axis, of: input[axis + 2], kernel: weight[axis + 2], roundsUp: false, facts.sizes))
    }
    facts.set(0, facts.node.operation == "ConvInteger" ? .int32 : facts.type(0), output)
  }

  static func convTranspose(_ facts: inout NodeFacts) throws(ModelError) {
    guard let input = facts.shape(0), let weight = facts.shape(1) else {
      facts.set(0, facts.type(0), facts.rank(0).map { facts.unknown($0) })
      return
    }
    guard input.count == weight.count, input.count >= 3 else {
      throw facts.refusal("cannot convolve \(input.text) with \(weight.text)")
    }
    let spatial = input.count - 2
    let window = try Window(facts, spatial: spatial)
    let sizes = facts.sizes
    let groups = facts.node.int("group", default: 1)
    let extra = facts.node.ints("output_padding") ?? Array(repeating: 0, count: spatial)
    let given = facts.node.ints("output_shape")
    guard extra.count == spatial, given.map({ $0.count == spatial }) ?? true else {
      throw facts.refusal("has an output_padding or output_shape that does not fit its input")
    }
    var output = [input[0], sizes.multiply(weight[1], .fixed(groups))]
    for axis in 0..<spatial {
      let stride: Dimension = .fixed(window.strides[axis])
      if let given {
        output.append(.fixed(given[axis]))
      } else if window.automatic.hasPrefix("SAME") {
        output.append(sizes.multiply(input[axis + 2], stride))
      } else {
        let pads = window.automatic == "VALID" ? 0 : window.padsBegin[axis] + window.padsEnd[axis]
        let reach = sizes.add(
          sizes.multiply(
            sizes.subtract(weight[axis + 2], .fixed(1)), .fixed(window.dilations[axis])),
          .fixed(1 - pads))
        let steps = sizes.multiply(sizes.subtract(input[axis + 2], .fixed(1)), stride)
        output.append(sizes.add(sizes.add(steps, reach), .fixed(extra[axis])))
      }
    }
    facts.set(0, facts.type(0), output)
  }

  static func pool(_ facts: inout NodeFacts) throws(ModelError) {
    guard let input = facts.shape(0) else {
      facts.set(0, facts.type(0), nil)
      facts.set(1, .int64, nil)
      return
    }
    let spatial = input.count - 2
    guard spatial > 0, let kernel = facts.node.ints("kernel_shape"), kernel.count == spatial,
      kernel.allSatisfy({ $0 > 0 && $0 < 1 << 30 })
    else { throw facts.refusal("has a kernel_shape that does not fit \(input.text)") }
    let window = try Window(facts, spatial: spatial)
    let roundsUp = facts.node.int("ceil_mode", default: 0) != 0
    var output = Array(input[..<2])
    for axis in 0..<spatial {
      output.append(
        window.count(
          axis, of: input[axis + 2], kernel: .fixed(kernel[axis]), roundsUp: roundsUp, facts.sizes))
    }
    facts.set(0, facts.type(0), output)
    facts.set(1, .int64, output)
  }

  static func globalPool(_ facts: inout NodeFacts) throws(ModelError) {
    let pooled = facts.shape(0).map { shape in
      shape.enumerated().map { axis, size in axis < 2 ? size : .fixed(1) }
    }
    facts.set(0, facts.type(0), pooled)
  }

  static func resize(_ facts: inout NodeFacts) throws(ModelError) {
    guard let input = facts.shape(0) else {
      facts.set(0, facts.type(0), nil)
      return
    }
    let node = facts.node
    var axes = Array(input.indices)
    if let given = node.ints("axes") { axes = try facts.axes(given, rank: input.count) }
    // Before opset 11 the second input held the scales; since then it is the region of interest.
    let isOld = node.operation == "Upsample" || node.opset < 11
    let scales = node.floats("scales") ?? facts.knownFloats(isOld ? 1 : 2)
    var output = input
    if !isOld, facts.has(3), facts.shape(3) != [.fixed(0)] {
      guard let wanted = facts.knownSizes(3), wanted.count == axes.count else {
        facts.set(0, facts.type(0), facts.unknown(input.count))
        return
      }
      for (place, axis) in axes.enumerated() { output[axis] = wanted[place] }
      if node.string("keep_aspect_ratio_policy", default: "stretch") != "stretch" {
        for axis in axes { output[axis] = .symbol("\(node.name):0.\(axis)") }
      }
    } else if let scales, scales.count == axes.count {
      for (place, axis) in axes.enumerated() {
        output[axis] = scaled(input[axis], by: scales[place], axis, facts)
      }
    } else {
      for axis in axes { output[axis] = .symbol("\(node.name):0.\(axis)") }
    }
    facts.set(0, facts.type(0), output)
  }

  /// A size times a scale, rounded down.
  private static func scaled(
    _ size: Dimension, by scale: Float, _ axis: Int, _ facts: NodeFacts
  ) -> Dimension {
    if scale == 1 { return size }
    if scale == scale.rounded(), scale > 0, scale < 1_048_576 {
      return facts.sizes.multiply(size, .fixed(Int(scale)))
    }
    guard case .fixed(let known) = size else {
      return facts.sizes.compose("\(facts.node.name):0.\(axis)", from: [size])
    }
    let result = (Float(known) * scale).rounded(.down)
    return .fixed(result >= 0 && result < Float(SizeAlgebra.huge) ? Int(result) : SizeAlgebra.huge)
  }

  static func gridSample(_ facts: inout NodeFacts) throws(ModelError) {
    guard let input = facts.shape(0), let grid = facts.shape(1), input.count >= 3,
      grid.count == input.count
    else {
      facts.set(0, facts.type(0), facts.rank(0).map { facts.unknown($0) })
      return
    }
    facts.set(0, facts.type(0), Array(input[..<2]) + grid[1..<(grid.count - 1)])
  }
}
