import Models

/// A function of whole lines along one axis, in the plain layout.
///
/// Operands: input, then as many outputs as the function writes.
struct LineKernel<Element: Sendable>: Kernel {
  /// One line, whose elements lie `step` apart.
  struct Line {
    let source: UnsafePointer<Element>
    let step: Int
    /// The line's number among those before the axis, and among those after it.
    let outer: Int
    let inner: Int
  }

  let outer: Int
  let size: Int
  let inner: Int
  let function: @Sendable (Line, [UnsafeMutableRawPointer]) -> Void

  var scratch: Int { 0 }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    let source = operands[0].assumingMemoryBound(to: Element.self)
    let outputs = Array(operands.dropFirst())
    let work = outer * inner
    OneDNN.parallel { thread, threads in
      for index in work * thread / threads..<work * (thread + 1) / threads {
        let (before, after) = index.quotientAndRemainder(dividingBy: inner)
        function(
          Line(
            source: source + before * size * inner + after, step: inner, outer: before,
            inner: after), outputs)
      }
    }
  }
}
