import Models

/// Lays tensors side by side along one axis.
///
/// Every row of the output, all that comes after the axes before that one, is made of one
/// contiguous run from each input; the threads share the output's bytes evenly, whatever the rows.
///
/// Operands: the inputs, then the output.
struct ConcatKernel: Kernel {
  private let rows: Int
  /// Bytes of each input in a row.
  private let runs: [Int]

  /// Prepares for tensors that all lie in the same layout.
  ///
  /// - Parameters:
  ///   - shapes: The shapes of the inputs, which differ along the axis alone; in the blocked layout
  ///     joined channels come in whole groups.
  ///   - axis: The axis as the shapes count it.
  init(shapes: [[Int]], axis: Int, layout: Layout, elementSize: Int) {
    let block = MemoryDescriptor.block
    var place = axis
    let sizes = shapes.map { shape -> [Int] in
      switch layout {
      case .plain: return shape
      case .blocked: return [shape[0], (shape[1] + block - 1) / block] + shape[2...] + [block]
      case .channelsLast:
        place = axis == 0 ? 0 : axis == 1 ? shape.count - 1 : axis - 1
        return [shape[0]] + shape[2...] + [shape[1]]
      }
    }
    rows = sizes.first.map { $0[..<place].reduce(1, *) } ?? 0
    runs = sizes.map { $0[place...].reduce(elementSize, *) }
  }

  var scratch: Int { 0 }

  /// The inputs, where the output is one row of them.
  var parts: [OperandPart] {
    guard rows == 1 else { return [] }
    var offset = 0
    return runs.indices.map { input in
      defer { offset += runs[input] }
      return OperandPart(part: input, whole: runs.count, offset: offset)
    }
  }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    let row = runs.reduce(0, +)
    let bytes = rows * row
    guard bytes > 0 else { return }
    OneDNN.parallel { thread, threads in
      let share = bytes * thread / threads..<bytes * (thread + 1) / threads
      for index in share.lowerBound / row..<(share.upperBound + row - 1) / row {
        copyRow(index, of: row, share, operands)
      }
    }
  }

  /// Copies what of a row lies in a thread's share of the output.
  private func copyRow(
    _ index: Int, of row: Int, _ share: Range<Int>, _ operands: [UnsafeMutableRawPointer]
  ) {
    var start = index * row
    for (input, run) in runs.enumerated() {
      let part = (start..<start + run).clamped(to: share)
      let (from, to) = (operands[input] + index * run, operands[runs.count] + start)
      if !part.isEmpty, from != to {
        let offset = part.lowerBound - start
        (to + offset).copyMemory(from: from + offset, byteCount: part.count)
      }
      start += run
    }
  }
}
