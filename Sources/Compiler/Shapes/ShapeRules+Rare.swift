import Models
import Vocabulary

extension ShapeRules {
  static let rare: [String: ShapeRule] = [
    "AffineGrid": affineGrid, "BitCast": bitCast, "CenterCropPad": centerCropPad, "DFT": fourier,
    "DeformConv": conv, "HammingWindow": window, "HannWindow": window, "BlackmanWindow": window,
    "MaxUnpool": maxUnpool, "NegativeLogLikelihoodLoss": loss, "RoiAlign": roiAlign,
    "SoftmaxCrossEntropyLoss": loss,
  ]

  static func affineGrid(_ facts: inout NodeFacts) throws(ModelError) {
    guard let size = facts.knownSizes(1), size.count > 2 else {
      facts.set(0, facts.type(0), nil)
      return
    }
    facts.set(0, facts.type(0), [size[0]] + size[2...] + [.fixed(size.count - 2)])
  }

  static func bitCast(_ facts: inout NodeFacts) throws(ModelError) {
    facts.set(0, try ElementType(onnx: facts.node.int("to", default: 0)), facts.shape(0))
  }

  static func centerCropPad(_ facts: inout NodeFacts) throws(ModelError) {
    guard var shape = facts.shape(0) else {
      facts.set(0, facts.type(0), nil)
      return
    }
    let axes = try facts.axes(facts.node.ints("axes") ?? Array(shape.indices), rank: shape.count)
    let wanted = facts.knownSizes(1)
    guard wanted.map({ $0.count == axes.count }) ?? true else {
      throw facts.refusal("has a target that does not fit its axes")
    }
    for (place, axis) in axes.enumerated() {
      shape[axis] = wanted?[place] ?? .symbol("\(facts.node.name):0.\(axis)")
    }
    facts.set(0, facts.type(0), shape)
  }

  /// A complex result has its parts on the last axis; a length may cut or pad the signal.
  static func fourier(_ facts: inout NodeFacts) throws(ModelError) {
    guard var shape = facts.shape(0), shape.count > 1 else {
      facts.set(0, facts.type(0), nil)
      return
    }
    let given =
      facts.node.opset >= 20 ? facts.knownInts(2)?.first : facts.node.int("axis", default: 1)
    guard facts.node.opset < 20 || given != nil || !facts.has(2) else {
      facts.set(0, facts.type(0), facts.unknown(shape.count))
      return
    }
    let axis = try facts.axis(given ?? -2, rank: shape.count)
    if facts.has(1) {
      shape[axis] = facts.knownSizes(1)?.first ?? .symbol("\(facts.node.name):0.\(axis)")
    }
    let isOneSided = facts.node.int("onesided", default: 0) != 0
    let isInverse = facts.node.int("inverse", default: 0) != 0
    if isOneSided, !isInverse {
      shape[axis] = facts.sizes.add(facts.sizes.divide(shape[axis], by: .fixed(2)), .fixed(1))
    }
    if isOneSided, isInverse, !facts.has(1) {
      shape[axis] = facts.sizes.multiply(
        facts.sizes.subtract(shape[axis], .fixed(1)), .fixed(2))
    }
    shape[shape.count - 1] = .fixed(isOneSided && isInverse ? 1 : 2)
    facts.set(0, facts.type(0), shape)
  }

  static func window(_ facts: inout NodeFacts) throws(ModelError) {
    let type = try ElementType(onnx: facts.node.int("output_datatype", default: 1))
    facts.set(0, type, [facts.knownSizes(0)?.first ?? .symbol("\(facts.node.name):0.0")])
  }

  static func maxUnpool(_ facts: inout NodeFacts) throws(ModelError) {
    guard let input = facts.shape(0), input.count > 2 else {
      facts.set(0, facts.type(0), nil)
      return
    }
    if facts.has(2) {
      facts.set(0, facts.type(0), facts.knownSizes(2) ?? facts.unknown(input.count))
      return
    }
    let spatial = input.count - 2
    guard let kernel = facts.node.ints("kernel_shape"), kernel.count == spatial else {
      throw facts.refusal("has a kernel_shape that does not fit \(input.text)")
    }
    let window = try Window(facts, spatial: spatial)
    var output = Array(input[..<2])
    for axis in 0..<spatial {
      let steps = facts.sizes.multiply(
        facts.sizes.subtract(input[axis + 2], .fixed(1)), .fixed(window.strides[axis]))
      let pads = window.padsBegin[axis] + window.padsEnd[axis]
      let reach = facts.sizes.subtract(.fixed(kernel[axis]), .fixed(pads))
      output.append(facts.sizes.add(steps, reach))
    }
    facts.set(0, facts.type(0), output)
  }

  static func loss(_ facts: inout NodeFacts) throws(ModelError) {
    let isReduced = facts.node.string("reduction", default: "mean") != "none"
    facts.set(0, facts.type(0), isReduced ? [] : facts.shape(1))
    facts.set(1, facts.type(0), facts.shape(0))
  }

  static func roiAlign(_ facts: inout NodeFacts) throws(ModelError) {
    guard let input = facts.shape(0), input.count == 4, let rois = facts.shape(1), !rois.isEmpty
    else {
      facts.set(0, facts.type(0), facts.unknown(4))
      return
    }
    facts.set(
      0, facts.type(0),
      [
        rois[0], input[1], .fixed(facts.node.int("output_height", default: 1)),
        .fixed(facts.node.int("output_width", default: 1)),
      ])
  }
}
