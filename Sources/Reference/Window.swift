public import Models
import Vocabulary

/// Kernel, strides, dilations and pads of a convolution or pool over any number of spatial axes.
public struct Window: Sendable {
  /// Sizes of the window.
  public var kernel: [Int]
  /// Steps from one window to the next.
  public var strides: [Int]
  /// Steps from one tap to the next.
  public var dilations: [Int]
  /// Padding in front.
  public var before: [Int]
  /// Padding behind.
  public var after: [Int]

  /// Reads the attributes of a node; `auto_pad` is resolved for the input's spatial sizes.
  ///
  /// - Throws: `ModelError`, when the attributes do not fit together.
  public init(_ node: Node, kernel: [Int], input: [Int]) throws(ModelError) {
    let rank = kernel.count
    let ones = [Int](repeating: 1, count: rank)
    self.kernel = kernel
    strides = node.ints("strides")?.map(\.asSize) ?? ones
    dilations = node.ints("dilations")?.map(\.asSize) ?? ones
    let pads = node.ints("pads")?.map(\.asSize) ?? [Int](repeating: 0, count: 2 * rank)
    guard strides.count == rank, dilations.count == rank, pads.count == 2 * rank,
      input.count == rank, strides.allSatisfy({ $0 > 0 }), dilations.allSatisfy({ $0 > 0 }),
      kernel.allSatisfy({ $0 > 0 }),
      (kernel + strides + dilations + pads).allSatisfy({ abs($0) <= Limits.computedElements })
    else {
      throw ModelError(
        "Node '\(node.name)' (\(node.operation)): kernel, strides, dilations and pads do not fit "
          + "the input.")
    }
    before = Array(pads[..<rank])
    after = Array(pads[rank...])
    let rule = node.string("auto_pad", default: "NOTSET")
    for axis in 0..<rank where rule.hasPrefix("SAME") {
      let reach = dilations[axis] * (kernel[axis] - 1) + 1
      let output = (input[axis] + strides[axis] - 1) / strides[axis]
      let total = max(0, (output - 1) * strides[axis] + reach - input[axis])
      before[axis] = rule == "SAME_UPPER" ? total / 2 : total - total / 2
      after[axis] = total - before[axis]
    }
    if rule == "VALID" {
      before = [Int](repeating: 0, count: rank)
      after = before
    }
  }

  /// Output size along an axis; with `ceiling`, windows that start inside the padded input count.
  public func output(_ axis: Int, input: Int, ceiling: Bool = false) -> Int {
    let reach = dilations[axis] * (kernel[axis] - 1) + 1
    let room = input + before[axis] + after[axis] - reach
    guard room >= 0 else { return 0 }
    var size = room / strides[axis] + 1
    if ceiling, room % strides[axis] != 0, size * strides[axis] < input + before[axis] {
      size += 1
    }
    return size
  }

  /// The same window with leading axes of size 1, so that three axes always do.
  public var threeAxes: Window {
    var copy = self
    while copy.kernel.count < 3 {
      copy.kernel.insert(1, at: 0)
      copy.strides.insert(1, at: 0)
      copy.dilations.insert(1, at: 0)
      copy.before.insert(0, at: 0)
      copy.after.insert(0, at: 0)
    }
    return copy
  }
}
