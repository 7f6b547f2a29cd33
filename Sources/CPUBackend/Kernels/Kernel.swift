import COneDNN
import Models
import Vocabulary

/// One piece of work on memory that is told with each run.
protocol Kernel: Sendable {
  /// Bytes that a run needs besides its operands.
  var scratch: Int { get }

  /// Runs on operands in the order of the step: what it reads, then what it writes.
  func run(_ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer)
    throws(ModelError)
}

/// A oneDNN primitive and which operand is which of its arguments.
struct PrimitiveKernel: Kernel {
  struct Argument {
    var argument: Int32
    var descriptor: MemoryDescriptor
    /// The place among the step's operands.
    var operand: Int
    /// Bytes from one repetition to the next; 0 for weights.
    var advance = 0
  }

  let primitive: Primitive
  let arguments: [Argument]
  /// Runs one after another, where the primitive was made for a part of the samples.
  var repetitions = 1
  /// An operand that is copied to another one first: a residual that must not be changed itself.
  var copy: (source: Int, target: Int, bytes: Int)?
  /// Whether the kernel itself leaves zeros in the padding of its output.
  var keepsPadding = false
  private let runs = PreparedRuns()

  init(primitive: Primitive, arguments: [Argument]) {
    (self.primitive, self.arguments) = (primitive, arguments)
  }

  var scratch: Int { primitive.scratch }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    if let copy, operands[copy.source] != operands[copy.target] {
      operands[copy.target].copyMemory(from: operands[copy.source], byteCount: copy.bytes)
    }
    let run: PreparedRun
    if let idle = runs.take() { run = idle } else { run = try prepare() }
    defer { runs.give(run) }
    for repetition in 0..<repetitions {
      for (place, argument) in arguments.enumerated() {
        run.set(place, operands[argument.operand] + repetition * argument.advance)
      }
      try run.execute(scratchpad: scratchpad)
    }
  }

  private func prepare() throws(ModelError) -> PreparedRun {
    try PreparedRun(
      primitive,
      arguments.map {
        let isOutput = $0.argument == DNNL.destination || $0.argument == DNNL.to
        return ($0.argument, $0.descriptor, isOutput && !keepsPadding)
      })
  }
}

extension PrimitiveKernel: @unchecked Sendable {}

/// A kernel in Swift.
struct SwiftKernel: Kernel {
  var scratch = 0
  let body: @Sendable ([UnsafeMutableRawPointer]) throws(ModelError) -> Void

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    try body(operands)
  }
}
