import Models

/// Puts side by side what a product has made for each place of a window that is as large as its
/// step: every input pixel becomes a window of output pixels.
///
/// Operands: the product, the output. The product has for each place of the window, row by row, its
/// channels, which may be padded.
struct InterleaveKernel: Kernel {
  let samples: Int
  /// Channels of the output.
  let channels: Int
  /// Rows and columns of the input.
  let height: Int
  let width: Int
  /// Rows and columns of the window.
  let window: (rows: Int, columns: Int)
  /// How the product lies: blocked or channels last.
  let from: Layout
  /// How the output lies: as the product, or plain.
  let to: Layout
  let elementSize: Int
  /// Channels that the product has for each place of the window, padding included: whole groups
  /// where both lie in the blocked layout.
  let each: Int

  var scratch: Int { 0 }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    let lines = samples * parts * height * window.rows
    OneDNN.parallel { thread, threads in
      for line in lines * thread / threads..<lines * (thread + 1) / threads {
        let (outer, row) = line.quotientAndRemainder(dividingBy: height * window.rows)
        fill(operands, sample: outer / parts, part: outer % parts, row: row)
      }
    }
  }

  /// What is moved pixel by pixel: groups of channels, channels, or all of them at once.
  private var parts: Int {
    switch to {
    case .plain: channels
    case .blocked: (channels + MemoryDescriptor.block - 1) / MemoryDescriptor.block
    case .channelsLast: 1
    }
  }

  /// One row of the output.
  private func fill(
    _ operands: [UnsafeMutableRawPointer], sample: Int, part: Int, row: Int
  ) {
    let run = to == .plain ? elementSize : from == .blocked ? blockBytes : channels * elementSize
    let line = (sample * parts + part) * height * window.rows + row
    let target = operands[1] + line * width * window.columns * run
    for column in 0..<window.columns {
      let place = row % window.rows * window.columns + column
      let (source, step) = self.source(
        operands[0], sample, place, part, row: row / window.rows)
      let first = target + column * run
      switch run {
      case 2: copy(source, step, first, run * window.columns, as: UInt16.self)
      case 4: copy(source, step, first, run * window.columns, as: UInt32.self)
      case 32: copy(source, step, first, run * window.columns, as: SIMD32<UInt8>.self)
      case 64: copy(source, step, first, run * window.columns, as: SIMD64<UInt8>.self)
      default:
        for pixel in 0..<width {
          (first + pixel * run * window.columns).copyMemory(
            from: source + pixel * step, byteCount: run)
        }
      }
    }
  }

  private var blockBytes: Int { MemoryDescriptor.block * elementSize }

  /// Where a row of the product begins for a place of the window, and the bytes between pixels.
  private func source(
    _ product: UnsafeMutableRawPointer, _ sample: Int, _ place: Int, _ part: Int, row: Int
  ) -> (UnsafeMutableRawPointer, step: Int) {
    let block = MemoryDescriptor.block
    let all = each * window.rows * window.columns
    let channel = place * each + (to == .blocked ? part * block : to == .plain ? part : 0)
    guard from == .blocked else {
      let pixel = (sample * height + row) * width
      return (product + (pixel * all + channel) * elementSize, all * elementSize)
    }
    let group = sample * ((all + block - 1) / block) + channel / block
    let pixel = (group * height + row) * width
    return (product + (pixel * block + channel % block) * elementSize, blockBytes)
  }

  @inline(__always)
  private func copy<Element>(
    _ source: UnsafeMutableRawPointer, _ step: Int, _ target: UnsafeMutableRawPointer,
    _ targetStep: Int, as type: Element.Type
  ) {
    for pixel in 0..<width {
      (target + pixel * targetStep).storeBytes(
        of: (source + pixel * step).loadUnaligned(as: type), as: type)
    }
  }
}
