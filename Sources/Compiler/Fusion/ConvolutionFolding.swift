import Models
import Vocabulary

/// Moves what follows a convolution channel by channel into its weights and bias.
///
/// That is BatchNormalization, and products and sums with constants. Two such steps after any
/// other node become one.
enum ConvolutionFolding {
  static func run(_ graph: inout Graph, facts: [ValueFacts]) {
    var rewriter = Rewriter(graph)
    for index in graph.nodes.indices {
      if let node = rewriter.nodes[index], node.domain.isEmpty, node.operation == "Conv" {
        takePadding(node, at: index, facts, &rewriter)
      }
      guard let node = rewriter.nodes[index], node.domain.isEmpty,
        let step = ChannelStep(node, facts, rewriter),
        let before = rewriter.producer(of: step.input), rewriter.onlyReader(of: step.input) != nil,
        before.node.domain.isEmpty
      else { continue }
      switch before.node.operation {
      case "Conv", "ConvTranspose": fold(step, node, before, into: &rewriter)
      case "BatchNormalization": join(step, node, before, &rewriter)
      default: break
      }
    }
    graph = rewriter.finish()
  }

  /// Lets a convolution pad by itself when zeros around the image are put there before it.
  private static func takePadding(
    _ node: Node, at index: Int, _ facts: [ValueFacts], _ rewriter: inout Rewriter
  ) {
    guard let pad = rewriter.single("Pad", writing: node.inputs[0]),
      let source = pad.node.inputs[0],
      pad.node.string("mode", default: "constant") == "constant",
      let rank = source.index < facts.count ? facts[source.index].shape?.count : nil, rank > 2,
      pad.node.inputs.count < 4,
      let outer = pad.node.ints("pads")
        ?? (pad.node.inputs.count > 1 ? rewriter.constant(pad.node.inputs[1])?.integers() : nil),
      outer.count == rank * 2, outer.allSatisfy({ $0 >= 0 && $0 < 1 << 20 }),
      [outer[0], outer[1], outer[rank], outer[rank + 1]].allSatisfy({ $0 == 0 }),
      pad.node.float("value", default: 0) == 0,
      ["NOTSET", "VALID"].contains(node.string("auto_pad", default: "NOTSET"))
    else { return }
    if pad.node.inputs.count > 2, let value = pad.node.inputs[2] {
      guard rewriter.scalar(value) == 0 else { return }
    }
    let isValid = node.string("auto_pad", default: "NOTSET") == "VALID"
    let own = isValid ? nil : node.ints("pads")
    let inner = own ?? Array(repeating: 0, count: (rank - 2) * 2)
    guard inner.count == (rank - 2) * 2 else { return }
    let added = Array(outer[2..<rank]) + outer[(rank + 2)...]
    var padded = node
    padded.inputs[0] = source
    padded.attributes["auto_pad"] = nil
    padded.attributes["pads"] = .ints(zip(inner, added).map { $0 + $1 })
    rewriter.remove(pad.index)
    rewriter.replace(index, with: padded)
  }

  private static func fold(
    _ step: ChannelStep, _ node: Node, _ conv: (index: Int, node: Node),
    into rewriter: inout Rewriter
  ) {
    guard conv.node.inputs.count >= 2, let weight = rewriter.constant(conv.node.inputs[1]),
      weight.type == .float32, weight.shape.count > 2,
      let channels = outputChannels(conv.node, weight), channels > 0,
      let scale = step.scale.spread(channels), let shift = step.shift.spread(channels),
      let index = rewriter.producer(of: node.outputs[0])?.index
    else { return }
    var bias = [Float](repeating: 0, count: channels)
    if conv.node.inputs.count > 2, let id = conv.node.inputs[2] {
      guard let given = rewriter.constant(id)?.floats, given.count == channels else { return }
      bias = given
    }
    for channel in 0..<channels { bias[channel] = bias[channel] * scale[channel] + shift[channel] }
    var fused = conv.node
    if scale.contains(where: { $0 != 1 }) {
      fused.inputs[1] = rewriter.add(
        scaled(weight, by: scale, isTransposed: conv.node.operation == "ConvTranspose"),
        name: "\(conv.node.name):weight")
    }
    let biasID = rewriter.add(.floats(bias, shape: [channels]), name: "\(conv.node.name):bias")
    fused.inputs = [fused.inputs[0], fused.inputs[1], biasID]
    fused.outputs = node.outputs.prefix(1).map { $0 }
    rewriter.fuse([conv.index, index], into: fused)
  }

  /// The channels that a convolution makes; nil for transposed ones in groups.
  private static func outputChannels(_ node: Node, _ weight: Tensor) -> Int? {
    guard node.operation == "ConvTranspose" else { return weight.shape[0] }
    return node.int("group", default: 1) == 1 ? weight.shape[1] : nil
  }

  /// Scales the filters of each output channel, when they are needed.
  private static func scaled(_ weight: Tensor, by scale: [Float], isTransposed: Bool) -> Tensor {
    let each = weight.shape.dropFirst(isTransposed ? 2 : 1).reduce(1, *)
    let storage = TensorStorage(byteCount: weight.byteCount, from: [weight.storage]) { memory in
      let source = weight.storage.source
      for filter in 0..<weight.elementCount / max(each, 1) {
        let factor = scale[filter % scale.count]
        for place in filter * each..<(filter + 1) * each {
          let element = source.loadUnaligned(fromByteOffset: place * 4, as: Float.self)
          memory.storeBytes(of: element * factor, toByteOffset: place * 4, as: Float.self)
        }
      }
    }
    return Tensor(type: .float32, shape: weight.shape, storage: storage)
  }

  /// Makes one BatchNormalization of one and a step after it.
  private static func join(
    _ step: ChannelStep, _ node: Node, _ before: (index: Int, node: Node),
    _ rewriter: inout Rewriter
  ) {
    guard let first = ChannelStep.ofNormalization(before.node, rewriter),
      let index = rewriter.producer(of: node.outputs[0])?.index,
      let input = before.node.inputs[0]
    else { return }
    let channels = max(first.scale.count, first.shift.count)
    guard let firstScale = first.scale.spread(channels),
      let firstShift = first.shift.spread(channels),
      let scale = step.scale.spread(channels), let shift = step.shift.spread(channels)
    else { return }
    var joined = before.node
    joined.attributes["epsilon"] = .float(0)
    let name = before.node.name
    let parameters: [(String, [Float])] = [
      ("scale", zip(firstScale, scale).map { $0 * $1 }),
      ("bias", zip(zip(firstShift, scale), shift).map { $0.0 * $0.1 + $1 }),
      ("mean", Array(repeating: 0, count: channels)),
      ("variance", Array(repeating: 1, count: channels)),
    ]
    joined.inputs = [input]
    for (kind, values) in parameters {
      joined.inputs.append(
        rewriter.add(.floats(values, shape: [channels]), name: "\(name):\(kind)"))
    }
    joined.outputs = node.outputs.prefix(1).map { $0 }
    rewriter.fuse([before.index, index], into: joined)
  }
}

/// y = scale[channel] · x + shift[channel], whichever operator says so.
struct ChannelStep {
  let input: ValueID
  /// One factor per channel, or a single one.
  let scale: [Float]
  /// One summand per channel, or a single one.
  let shift: [Float]

  init?(_ node: Node, _ facts: [ValueFacts], _ rewriter: Rewriter) {
    if node.operation == "BatchNormalization" {
      guard let step = Self.ofNormalization(node, rewriter) else { return nil }
      self = step
      return
    }
    guard ["Mul", "Add", "Sub", "Div"].contains(node.operation), node.inputs.count == 2 else {
      return nil
    }
    let constantIsSecond = rewriter.constant(node.inputs[1]) != nil
    guard constantIsSecond || node.operation == "Mul" || node.operation == "Add",
      let input = node.inputs[constantIsSecond ? 0 : 1], input.index < facts.count,
      let constant = rewriter.constant(node.inputs[constantIsSecond ? 1 : 0]),
      let rank = facts[input.index].shape?.count,
      let values = Self.perChannel(constant, rank: rank)
    else { return nil }
    self.input = input
    scale = node.operation == "Mul" ? values : node.operation == "Div" ? values.map { 1 / $0 } : [1]
    shift = node.operation == "Add" ? values : node.operation == "Sub" ? values.map { -$0 } : [0]
  }

  private init(input: ValueID, scale: [Float], shift: [Float]) {
    self.input = input
    self.scale = scale
    self.shift = shift
  }

  static func ofNormalization(_ node: Node, _ rewriter: Rewriter) -> ChannelStep? {
    guard node.inputs.count == 5, let input = node.inputs[0],
      node.outputs.dropFirst().allSatisfy({ $0 == nil }),
      node.int("training_mode", default: 0) == 0,
      let scale = rewriter.constant(node.inputs[1])?.floats,
      let bias = rewriter.constant(node.inputs[2])?.floats,
      let mean = rewriter.constant(node.inputs[3])?.floats,
      let variance = rewriter.constant(node.inputs[4])?.floats,
      Set([scale.count, bias.count, mean.count, variance.count]).count == 1
    else { return nil }
    let epsilon = Double(node.float("epsilon", default: 1e-5))
    var factors: [Float] = []
    var summands: [Float] = []
    for channel in scale.indices {
      let factor = Double(scale[channel]) / (Double(variance[channel]) + epsilon).squareRoot()
      factors.append(Float(factor))
      summands.append(Float(Double(bias[channel]) - Double(mean[channel]) * factor))
    }
    return ChannelStep(input: input, scale: factors, shift: summands)
  }

  /// The elements of a constant that has one for each channel or one for all.
  private static func perChannel(_ constant: Tensor, rank: Int) -> [Float]? {
    guard let values = constant.floats, constant.shape.count <= rank else { return nil }
    if values.count == 1 { return values }
    let aligned = Array(repeating: 1, count: rank - constant.shape.count) + constant.shape
    guard rank >= 2, aligned.enumerated().allSatisfy({ $0.offset == 1 || $0.element == 1 }) else {
      return nil
    }
    return values
  }
}

extension [Float] {
  /// One element per channel, repeating a single one.
  fileprivate func spread(_ channels: Int) -> [Float]? {
    count == channels ? self : count == 1 ? Array(repeating: self[0], count: channels) : nil
  }
}
