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
  ///   - shapes: The shapes of the inputs, which differ along the axis alone.
  ///   - block: Channels that lie side by side, a divisor of each input's where these are joined;
  ///     1 in the plain layout.
  init(shapes: [[Int]], axis: Int, block: Int, elementSize: Int) {
    let places = shapes.map { shape -> [Int] in
      guard block > 1 else { return shape }
      return [shape[0], (shape[1] + block - 1) / block] + shape[2...] + [block]
    }
    rows = places.first.map { $0[..<axis].reduce(1, *) } ?? 0
    runs = places.map { $0[axis...].reduce(elementSize, *) }
  }

  var scratch: Int { 0 }

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
      if !part.isEmpty {
        (operands[runs.count] + part.lowerBound).copyMemory(
          from: operands[input] + index * run + (part.lowerBound - start), byteCount: part.count)
      }
      start += run
    }
  }
}
