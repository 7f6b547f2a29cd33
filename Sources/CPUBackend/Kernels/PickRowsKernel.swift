import Models

/// Rows of a table by their numbers; the last row stands for numbers that no other row has.
///
/// Operands: numbers, table, output.
struct PickRowsKernel<Index: FixedWidthInteger & Sendable>: Kernel {
  /// Numbers.
  let count: Int
  /// Rows of the table, the last one included.
  let rows: Int
  /// Bytes of a row.
  let run: Int

  var scratch: Int { 0 }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    let numbers = operands[0].assumingMemoryBound(to: Index.self)
    OneDNN.parallel { thread, threads in
      for place in count * thread / threads..<count * (thread + 1) / threads {
        let number = Int(numbers[place])
        let row = (0..<rows - 1).contains(number) ? number : rows - 1
        (operands[2] + place * run).copyMemory(from: operands[1] + row * run, byteCount: run)
      }
    }
  }
}
