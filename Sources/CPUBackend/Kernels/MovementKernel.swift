import Glibc
import Models

/// Copies elements that lie at regular distances, such as a slice or a repeated row, side by side.
///
/// Operands: input, output, both in the plain layout.
struct MovementKernel: Kernel {
  /// Axes of the output, outermost first: sizes, and bytes from one place to the next in the input.
  private var axes: [(size: Int, step: Int)] = []
  /// Bytes of the input before the first element.
  private let start: Int
  /// Bytes that lie side by side in input and output.
  private var run: Int

  /// - Parameters:
  ///   - shape: The shape of the output.
  ///   - steps: Elements of the input from one place to the next along each axis; 0 repeats,
  ///     negative ones go backwards.
  ///   - start: The element of the input that comes first.
  init(shape: [Int], steps: [Int], start: Int, elementSize: Int) {
    self.start = start * elementSize
    run = elementSize
    for (size, step) in zip(shape, steps).reversed() where size != 1 {
      let bytes = step * elementSize
      if axes.isEmpty, bytes == run {
        run *= size
      } else if let outer = axes.first, bytes == outer.size * outer.step {
        axes[0] = (outer.size * size, outer.step)
      } else {
        axes.insert((size, bytes), at: 0)
      }
    }
    if shape.contains(0) { axes = [(0, 0)] }
  }

  var scratch: Int { 0 }

  /// The output, where the input has it in one piece.
  var parts: [OperandPart] {
    axes.isEmpty ? [OperandPart(part: 1, whole: 0, offset: start)] : []
  }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    let (source, target) = (operands[0] + start, operands[1])
    let inner = axes.last ?? (1, 0)
    let outer = axes.dropLast().reduce(1) { $0 * $1.size }
    guard inner.size > 0, !axes.isEmpty || source != target else { return }
    OneDNN.parallel { thread, threads in
      for row in outer * thread / threads..<outer * (thread + 1) / threads {
        var (rest, offset) = (row, 0)
        for axis in axes.dropLast().reversed() {
          offset += rest % axis.size * axis.step
          rest /= axis.size
        }
        copyRow(source + offset, target + row * inner.size * run, inner.size, inner.step)
      }
    }
  }

  private func copyRow(
    _ source: UnsafeMutableRawPointer, _ target: UnsafeMutableRawPointer, _ count: Int, _ step: Int
  ) {
    // Several elements make up a run, and the next one need not begin at a multiple of it.
    let isAligned = [step, Int(bitPattern: source), Int(bitPattern: target)].allSatisfy {
      $0 % run == 0
    }
    switch isAligned ? run : 0 {
    case 1: copy(source, target, count, step, as: UInt8.self)
    case 2: copy(source, target, count, step, as: UInt16.self)
    case 4: copy(source, target, count, step, as: UInt32.self)
    case 8: copy(source, target, count, step, as: UInt64.self)
    default: for place in 0..<count { memcpy(target + place * run, source + place * step, run) }
    }
  }

  @inline(__always)
  private func copy<Element>(
    _ source: UnsafeMutableRawPointer, _ target: UnsafeMutableRawPointer, _ count: Int,
    _ step: Int, as type: Element.Type
  ) {
    let stride = step / MemoryLayout<Element>.size
    let from = source.assumingMemoryBound(to: type)
    let to = target.assumingMemoryBound(to: type)
    for place in 0..<count { to[place] = from[place * stride] }
  }
}
