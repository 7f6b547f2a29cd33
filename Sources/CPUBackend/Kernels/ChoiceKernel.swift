import Models

/// Elements of one tensor or another, as a third one tells, all of which may be repeated along
/// axes; in the plain layout.
///
/// Operands: conditions, elements where they hold, elements where they do not, output.
struct ChoiceKernel<Element: Sendable>: Kernel {
  private let shape: [Int]
  /// Elements from one place to the next along each axis, of each of the three.
  private let steps: [[Int]]

  /// Prepares for three shapes that numpy's rules bring together.
  init(_ shapes: [[Int]], _ result: [Int], as type: Element.Type) {
    shape = result.isEmpty ? [1] : result
    steps = shapes.map { given in
      let padded = [Int](repeating: 1, count: max(result.count, 1) - given.count) + given
      var steps = Lowering.strides(of: padded)
      for axis in padded.indices where padded[axis] == 1 { steps[axis] = 0 }
      return steps
    }
  }

  var scratch: Int { 0 }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    let conditions = operands[0].assumingMemoryBound(to: UInt8.self)
    let yes = operands[1].assumingMemoryBound(to: Element.self)
    let no = operands[2].assumingMemoryBound(to: Element.self)
    let target = operands[3].assumingMemoryBound(to: Element.self)
    let last = shape.count - 1
    let (count, outer) = (shape[last], shape.dropLast().reduce(1, *))
    let step = steps.map { $0[last] }
    OneDNN.parallel { thread, threads in
      for row in outer * thread / threads..<outer * (thread + 1) / threads {
        var (rest, a, b, c) = (row, 0, 0, 0)
        for axis in (0..<last).reversed() {
          let place = rest % shape[axis]
          rest /= shape[axis]
          a += place * steps[0][axis]
          b += place * steps[1][axis]
          c += place * steps[2][axis]
        }
        let to = target + row * count
        for place in 0..<count {
          to[place] =
            conditions[a + place * step[0]] != 0
            ? yes[b + place * step[1]] : no[c + place * step[2]]
        }
      }
    }
  }
}
