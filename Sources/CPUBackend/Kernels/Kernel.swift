import COneDNN
import Models
import Vocabulary

/// One piece of work on memory that is told with each run.
protocol Kernel: Sendable {
  /// Bytes that a run needs besides its operands.
  var scratch: Int { get }

  /// Operands that the kernel would copy into others or out of them, and need not copy when they
  /// lie there.
  var parts: [OperandPart] { get }

  /// Makes what a run would make otherwise when it is the first, on as many units as a run will
  /// have.
  func prepare() throws(ModelError)

  /// Runs on operands in the order of the step: what it reads, then what it writes.
  func run(_ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer)
    throws(ModelError)
}

/// An operand whose elements are a part of those of another one, in the same order.
struct OperandPart: Equatable {
  /// Their places among the step's operands.
  var part: Int
  var whole: Int
  /// Bytes of the whole before the part.
  var offset: Int
}

extension Kernel {
  /// None, for kernels that make something new.
  var parts: [OperandPart] { [] }

  /// Nothing, for kernels that are ready once they are there.
  func prepare() throws(ModelError) {}
}

/// A oneDNN primitive and which operand is which of its arguments.
struct PrimitiveKernel: Kernel {
  struct Argument {
    var argument: Int32
    /// The place among the step's operands.
    var operand: Int
    /// Bytes from one repetition to the next; 0 for weights.
    var advance: Int
    /// What fills the padding of an output; nil where it has none.
    fileprivate let padded: PaddedMemory?

    /// Of the descriptor only what a run needs is kept: it takes most of a kilobyte.
    init(argument: Int32, descriptor: MemoryDescriptor, operand: Int, advance: Int = 0) {
      (self.argument, self.operand, self.advance) = (argument, operand, advance)
      let isOutput = argument == DNNL.destination || argument == DNNL.to
      padded = isOutput && descriptor.isPadded ? PaddedMemory(descriptor) : nil
    }
  }

  let primitive: Primitive
  let arguments: [Argument]
  /// Runs one after another, where the primitive was made for a part of the samples.
  var repetitions = 1
  /// An operand that is copied to another one first: a residual that must not be changed itself.
  var copy: (source: Int, target: Int, bytes: Int)?
  /// Whether the kernel itself leaves zeros in the padding of its output.
  var keepsPadding = false

  init(primitive: Primitive, arguments: [Argument]) {
    (self.primitive, self.arguments) = (primitive, arguments)
  }

  var scratch: Int { primitive.scratch }

  func prepare() throws(ModelError) { _ = try primitive.handle() }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    if let copy, operands[copy.source] != operands[copy.target] {
      operands[copy.target].copyMemory(from: operands[copy.source], byteCount: copy.bytes)
    }
    try ArgumentList.with { (list) throws(ModelError) in
      for repetition in 0..<repetitions {
        try run(operands, list, repetition, scratchpad)
      }
    }
  }

  private func run(
    _ operands: [UnsafeMutableRawPointer], _ list: ArgumentList, _ repetition: Int,
    _ scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    list.clear()
    // At most one argument is an output.
    var filled: (padded: PaddedMemory, memory: dnnl_memory_t?)?
    defer { if let filled { filled.padded.give(filled.memory) } }
    for argument in arguments {
      let data = operands[argument.operand] + repetition * argument.advance
      if let padded = argument.padded, !keepsPadding {
        let memory = try padded.take()
        filled = (padded, memory)
        dnnl_memory_set_data_handle(memory, data)
        list.add(argument.argument, memory)
      } else {
        try list.add(argument.argument, data)
      }
    }
    try list.execute(primitive, scratchpad: scratchpad)
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
