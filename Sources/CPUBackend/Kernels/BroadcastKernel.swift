import Models
import Vocabulary

/// A function of two tensors, one or both of which are repeated along axes, in the plain layout.
///
/// Operands: both inputs, then the output.
struct BroadcastKernel<Element: Sendable, Result: Sendable>: Kernel {
  /// Axes that lie in memory as one, outermost first: their sizes, and the elements from one place
  /// to the next in each input; 0 where it is repeated.
  private var axes: [(size: Int, first: Int, second: Int)] = []
  private let function: @Sendable (Rows<Element, Result>) -> Void

  /// Prepares for shapes that numpy's rules bring together.
  ///
  /// - Parameter function: Computes one row.
  init(
    _ first: [Int], _ second: [Int], _ result: [Int],
    function: @escaping @Sendable (Rows<Element, Result>) -> Void
  ) {
    self.function = function
    let (one, other) = (Self.steps(first, result), Self.steps(second, result))
    for axis in result.indices where result[axis] != 1 {
      let next = (size: result[axis], first: one[axis], second: other[axis])
      if let last = axes.last, last.first == next.first * next.size,
        last.second == next.second * next.size
      {
        axes[axes.count - 1] = (last.size * next.size, next.first, next.second)
      } else {
        axes.append(next)
      }
    }
    if axes.isEmpty { axes = [(1, 0, 0)] }
  }

  /// Elements from one place to the next along each axis of the result.
  private static func steps(_ shape: [Int], _ result: [Int]) -> [Int] {
    let padded = [Int](repeating: 1, count: result.count - shape.count) + shape
    var steps = [Int](repeating: 0, count: result.count)
    var step = 1
    for axis in result.indices.reversed() {
      steps[axis] = padded[axis] == 1 ? 0 : step
      step *= padded[axis]
    }
    return steps
  }

  var scratch: Int { 0 }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    let outer = axes.dropLast().reduce(1) { $0 * $1.size }
    guard let inner = axes.last, outer * inner.size > 0 else { return }
    let first = operands[0].assumingMemoryBound(to: Element.self)
    let second = operands[1].assumingMemoryBound(to: Element.self)
    let target = operands[2].assumingMemoryBound(to: Result.self)
    OneDNN.parallel { thread, threads in
      for row in outer * thread / threads..<outer * (thread + 1) / threads {
        var (rest, a, b) = (row, 0, 0)
        for axis in axes.dropLast().reversed() {
          let place = rest % axis.size
          rest /= axis.size
          a += place * axis.first
          b += place * axis.second
        }
        function(
          Rows(
            first: first + a, second: second + b, target: target + row * inner.size,
            count: inner.size, firstStep: inner.first, secondStep: inner.second))
      }
    }
  }
}

/// A row of both inputs and of the output.
struct Rows<Element, Result> {
  let first: UnsafePointer<Element>
  let second: UnsafePointer<Element>
  let target: UnsafeMutablePointer<Result>
  let count: Int
  /// 1, or 0 where one element stands for all, or more where a row is not contiguous.
  let firstStep: Int
  let secondStep: Int

  /// Writes the function of each pair.
  @inline(__always)
  func fill(_ function: (Element, Element) -> Result) {
    switch (firstStep, secondStep) {
    case (1, 1): for place in 0..<count { target[place] = function(first[place], second[place]) }
    case (1, 0):
      let b = second[0]
      for place in 0..<count { target[place] = function(first[place], b) }
    case (0, 1):
      let a = first[0]
      for place in 0..<count { target[place] = function(a, second[place]) }
    default:
      for place in 0..<count {
        target[place] = function(first[place * firstStep], second[place * secondStep])
      }
    }
  }
}
