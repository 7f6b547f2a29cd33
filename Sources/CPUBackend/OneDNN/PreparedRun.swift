import COneDNN
import Models
import Threads
import Vocabulary

/// A primitive's arguments as oneDNN wants them, made once: a run tells only where they lie.
///
/// oneDNN fills the padding of a tensor with zeros whenever it is told where it lies. What a kernel
/// reads is padded already, so it gets such tensors as plain bytes, and looks at its own
/// descriptors anyway.
final class PreparedRun: @unchecked Sendable {
  // Unchecked: one thread has it at a time.

  private let primitive: Primitive
  private var list: [dnnl_exec_arg_t] = []
  private let hasScratch: Bool

  /// - Parameter arguments: The primitive's arguments, and whether their padding is to be filled.
  init(
    _ primitive: Primitive,
    _ arguments: [(argument: Int32, descriptor: MemoryDescriptor, fillsPadding: Bool)]
  ) throws(ModelError) {
    self.primitive = primitive
    hasScratch = primitive.scratch > 0
    for (argument, descriptor, fillsPadding) in arguments {
      let isWhole = fillsPadding && descriptor.isPadded
      try add(argument, isWhole ? descriptor : Self.bytes(descriptor))
    }
    for (argument, descriptor, data) in primitive.quantization?.arguments ?? [] {
      try add(argument, descriptor)
      set(list.count - 1, data)
    }
    if hasScratch, let descriptor = primitive.descriptor(dnnl_query_scratchpad_md) {
      try add(DNNL_ARG_SCRATCHPAD, descriptor)
    }
  }

  deinit { for item in list { dnnl_memory_destroy(item.memory) } }

  private static func bytes(_ descriptor: MemoryDescriptor) throws(ModelError) -> MemoryDescriptor {
    guard let bytes = MemoryDescriptor([descriptor.byteCount], .uint8, .plain) else {
      throw ModelError("An argument of a kernel is too large.")
    }
    return bytes
  }

  private func add(_ argument: Int32, _ descriptor: MemoryDescriptor) throws(ModelError) {
    var memory: dnnl_memory_t?
    let status = withExtendedLifetime(descriptor) {
      // No address yet, and nothing to be filled.
      stowage_memory(&memory, descriptor.raw, OneDNN.engine, nil)
    }
    guard status == dnnl_success else { throw ModelError("oneDNN ran out of memory.") }
    list.append(dnnl_exec_arg_t(arg: argument, memory: memory))
  }

  /// Sets where an argument lies, by its place in the list.
  @inline(__always)
  func set(_ place: Int, _ data: UnsafeMutableRawPointer) {
    dnnl_memory_set_data_handle(list[place].memory, data)
  }

  func execute(scratchpad: UnsafeMutableRawPointer) throws(ModelError) {
    if hasScratch { set(list.count - 1, scratchpad - primitive.untouchedScratch) }
    guard
      dnnl_primitive_execute(primitive.handle, OneDNN.stream, Int32(list.count), list)
        == dnnl_success
    else { throw ModelError("The kernel \(primitive.implementation) failed to run.") }
  }
}

/// Prepared runs that no thread has at the moment.
final class PreparedRuns: Sendable {
  private let idle = Lock<[PreparedRun]>([])

  func take() -> PreparedRun? { idle.withLock { $0.popLast() } }

  func give(_ run: PreparedRun) { idle.withLock { $0.append(run) } }
}

extension MemoryDescriptor {
  /// Whether there is more memory than elements.
  var isPadded: Bool { withExtendedLifetime(self) { stowage_layout_padded(raw) != 0 } }
}
