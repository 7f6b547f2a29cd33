import Models

/// Parts of a tensor along one axis, as indices tell: the words of a text from a table, say.
///
/// Operands: the tensor, the indices, the output, all in the plain layout.
struct GatherKernel<Index: FixedWidthInteger & Sendable>: Kernel {
  /// Axes before the one that is indexed, as one.
  let outer: Int
  /// Places along the axis.
  let size: Int
  /// Bytes of a part.
  let run: Int
  /// Indices.
  let count: Int

  var scratch: Int { 0 }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    let indices = operands[1].assumingMemoryBound(to: Index.self)
    for place in 0..<count where !(-size..<size).contains(Int(indices[place])) {
      throw ModelError("Index \(indices[place]) is outside an axis of \(size).")
    }
    let work = outer * count
    OneDNN.parallel { thread, threads in
      for index in work * thread / threads..<work * (thread + 1) / threads {
        let (part, place) = index.quotientAndRemainder(dividingBy: count)
        let wanted = Int(indices[place])
        let row = part * size + (wanted < 0 ? wanted + size : wanted)
        (operands[2] + index * run).copyMemory(from: operands[0] + row * run, byteCount: run)
      }
    }
  }
}
