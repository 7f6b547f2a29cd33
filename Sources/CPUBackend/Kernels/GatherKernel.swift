import Models

/// Parts of a tensor along one axis, as indices tell: the words of a text from a table, say.
///
/// Operands: the tensor, the indices, the output, all in the plain layout.
struct GatherKernel: Kernel {
  /// Axes before the one that is indexed, as one.
  let outer: Int
  /// Places along the axis.
  let size: Int
  /// Bytes of a part.
  let run: Int
  /// Indices.
  let count: Int
  /// Whether these have 64 bits instead of 32.
  let isLong: Bool

  var scratch: Int { 0 }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    let indices = operands[1]
    for place in 0..<count where !(-size..<size).contains(index(indices, place)) {
      throw ModelError("Index \(index(indices, place)) is outside an axis of \(size).")
    }
    let work = outer * count
    OneDNN.parallel { thread, threads in
      for target in work * thread / threads..<work * (thread + 1) / threads {
        let (part, place) = target.quotientAndRemainder(dividingBy: count)
        let wanted = index(indices, place)
        let row = part * size + (wanted < 0 ? wanted + size : wanted)
        let (from, to) = (operands[0] + row * run, operands[2] + target * run)
        // Single numbers are not worth a call.
        if run == 4 {
          to.storeBytes(of: from.loadUnaligned(as: UInt32.self), as: UInt32.self)
        } else {
          to.copyMemory(from: from, byteCount: run)
        }
      }
    }
  }

  private func index(_ indices: UnsafeMutableRawPointer, _ place: Int) -> Int {
    isLong
      ? Int(indices.load(fromByteOffset: place * 8, as: Int64.self))
      : Int(indices.load(fromByteOffset: place * 4, as: Int32.self))
  }
}
