import COneDNN
import Models
import Reference
import Vocabulary

/// One of the ways in which oneDNN can convolve.
struct ConvolutionWay {
  var source: Layout
  var destination: Layout
  /// The type of input and weights, and that of the output.
  var type: ElementType = .float32
  var outputType: ElementType = .float32
  var algorithm: dnnl_alg_kind_t = dnnl_convolution_direct
  /// The type of the weights, where it is another one.
  var weightType: ElementType?
  /// Whether the activation is a pass of its own: minimal filtering knows Relu alone, and saves
  /// more than the pass costs; and oneDNN takes longer for Swish in BF16 than a pass of our own.
  var activatesAfterwards = false
}

/// A convolution for some samples, ready to be made in one of several ways.
struct ConvolutionShape {
  var input: [Int]
  var output: [Int]
  /// Weights as oneDNN wants them: groups in front when there are several.
  var weights: [Int]
  var window: Window
  var channels: Int
  var groups: Int
  var post: PostOperations

  /// Each channel is a group of its own.
  var isDepthwise: Bool { groups == input[1] && groups == output[1] }

  /// Channels of a group fill whole vectors, or there is one group, or one channel in each.
  var suitsBlocks: Bool {
    let block = MemoryDescriptor.block
    return groups == 1 || isDepthwise
      || (input[1] / groups % block == 0 && output[1] / groups % block == 0)
  }

  /// Takes a picture of one column for one of one row, which lies the same in memory: oneDNN
  /// computes the pixels of a row together, and those of a column one by one.
  mutating func turnColumn() {
    guard input.count == 4, input[3] == 1, output[3] == 1, window.kernel[1] == 1, input[2] > 1,
      window.before[1] == 0, window.after[1] == 0
    else { return }
    input.swapAt(2, 3)
    output.swapAt(2, 3)
    weights.swapAt(weights.count - 2, weights.count - 1)
    window.kernel.swapAt(0, 1)
    window.strides.swapAt(0, 1)
    window.dilations.swapAt(0, 1)
    window.before.swapAt(0, 1)
    window.after.swapAt(0, 1)
  }

  /// Winograd's minimal filtering takes 2.25 to 4 times fewer products than the definition; its
  /// transforms pay off where there are many channels and enough tiles.
  private var suitsWinograd: Bool {
    let block = MemoryDescriptor.block
    return window.kernel == [3, 3] && window.strides == [1, 1] && window.dilations == [1, 1]
      && (window.before + window.after).allSatisfy { $0 <= 1 } && groups == 1
      && input[1] % block == 0 && output[1] % block == 0 && input[1] >= 32 && output[1] >= 32
      && output[2] * output[3] >= 100
  }

  /// How many samples a kernel may take at once, best first.
  ///
  /// Minimal filtering needs scratch for all tiles of all its samples. Where one picture has enough
  /// tiles to keep the processor busy, samples go one after another through that of one.
  func sampleCounts(_ way: ConvolutionWay) -> [Int] {
    let tiles = output[2...].reduce(1) { $0 * (($1 + 3) / 4) }
    let isAlone = way.algorithm == dnnl_convolution_winograd && tiles >= 512
    return isAlone ? [1] : [input[0], 1]
  }

  /// The ways to try, best first.
  ///
  /// - Parameters:
  ///   - type: The type in which activations are kept.
  ///   - outputType: The type in which the output is best left.
  ///   - isPlain: Whether the input lies in the plain layout.
  func ways(
    _ type: ElementType, leaving outputType: ElementType, fromPlain isPlain: Bool,
    usesWinograd: Bool
  ) -> [ConvolutionWay] {
    let isFirst = isPlain && input[1] < MemoryDescriptor.block
    let exact = exactWays(isFirst ? .plain : .blocked, usesWinograd: usesWinograd)
    guard type != .float32 else { return exact }
    var layouts: [(Layout, Layout)] = isFirst ? [(.plain, .blocked)] : [(.blocked, .blocked)]
    layouts.insert((.channelsLast, .channelsLast), at: Processor.hasMatrixUnits ? 0 : layouts.count)
    // A residual is added in place, so its type is that of the output.
    let left = post.addsToDestination ? type : outputType
    return layouts.map { source, destination in
      var way = ConvolutionWay(
        source: source, destination: destination, type: type, outputType: left)
      way.activatesAfterwards =
        destination == .channelsLast && left == .bfloat16 && post.isSwish
        && Processor.hasMatrixUnits
      return way
    } + exact
  }

  private func exactWays(_ source: Layout, usesWinograd: Bool) -> [ConvolutionWay] {
    let blocks = ConvolutionWay(source: source, destination: .blocked)
    var ways: [ConvolutionWay] = []
    if suitsWinograd, usesWinograd {
      ways.append(blocks)
      ways[0].algorithm = dnnl_convolution_winograd
      ways[0].activatesAfterwards = !post.isPlainRelu
    }
    if suitsBlocks { ways.append(blocks) }
    ways.append(ConvolutionWay(source: .plain, destination: .plain))
    if !suitsBlocks { ways.append(ConvolutionWay(source: .blocked, destination: .blocked)) }
    return ways
  }

  /// Makes a primitive, or nil where oneDNN has none of this kind.
  func primitive(
    _ way: ConvolutionWay, pinned: MemoryDescriptor?, samples: Int
  ) -> Primitive? {
    operation(way, pinned: pinned, samples: samples).flatMap { Primitive($0, $1) }
  }

  /// The name of the implementation that a primitive would have; nil where oneDNN has none.
  func implementation(
    _ way: ConvolutionWay, pinned: MemoryDescriptor?, samples: Int
  ) -> String? {
    operation(way, pinned: pinned, samples: samples).flatMap(Primitive.implementation)
  }

  private func operation(
    _ way: ConvolutionWay, pinned: MemoryDescriptor?, samples: Int
  ) -> (Operation, PostOperations)? {
    guard
      let from = MemoryDescriptor([samples] + input.dropFirst(), way.type, way.source),
      let to = MemoryDescriptor([samples] + output.dropFirst(), way.outputType, way.destination),
      let weights = pinned ?? MemoryDescriptor.any(weights, way.weightType ?? way.type),
      let bias = MemoryDescriptor([channels], .float32, .plain)
    else { return nil }
    let geometry = WindowGeometry(
      strides: window.strides, dilations: window.dilations, before: window.before,
      after: window.after)
    var fused = post
    if way.activatesAfterwards { (fused.activation, fused.further) = (nil, []) }
    return (
      .convolution(
        way.algorithm, source: from, weights: weights, bias: bias, destination: to, geometry),
      fused
    )
  }
}
