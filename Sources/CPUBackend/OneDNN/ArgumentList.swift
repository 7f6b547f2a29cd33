import COneDNN
import Models
import Threads
import Vocabulary

/// oneDNN's objects for the arguments of any kernel: a run tells only where they lie.
///
/// One such object takes about a kilobyte, and there are a thousand kernels: so the objects are not
/// the kernels' own but a thread's, for the time of a run. They say nothing of shapes; kernels look
/// at their own descriptors. Only where the padding of a tensor is to be filled with zeros, which
/// oneDNN does whenever it is told where a tensor lies, the object must know its layout.
final class ArgumentList: @unchecked Sendable {
  // Unchecked: one thread has it at a time.

  /// Objects without a shape, used for one argument after another.
  private var bytes: [dnnl_memory_t?] = []
  private var list: [dnnl_exec_arg_t] = []

  deinit { for memory in bytes { dnnl_memory_destroy(memory) } }

  private static let idle = Lock<[ArgumentList]>([])

  /// Calls the body with a list that nobody else has meanwhile.
  static func with(
    _ body: (ArgumentList) throws(ModelError) -> Void
  ) throws(ModelError) {
    let list = idle.withLock { $0.popLast() } ?? ArgumentList()
    defer { idle.withLock { $0.append(list) } }
    try body(list)
  }

  func clear() { list.removeAll(keepingCapacity: true) }

  /// Adds an argument whose padding, if there is any, is as it should be.
  func add(_ argument: Int32, _ data: UnsafeMutableRawPointer) throws(ModelError) {
    let place = list.count
    while bytes.count <= place { bytes.append(try Self.memory(of: Self.byte)) }
    dnnl_memory_set_data_handle(bytes[place], data)
    list.append(dnnl_exec_arg_t(arg: argument, memory: bytes[place]))
  }

  /// Adds an argument with an object of its own.
  func add(_ argument: Int32, _ memory: dnnl_memory_t?) {
    list.append(dnnl_exec_arg_t(arg: argument, memory: memory))
  }

  /// Runs a primitive on these arguments.
  func execute(
    _ primitive: Primitive, scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    for (argument, memory) in primitive.quantization?.arguments ?? [] { add(argument, memory) }
    if primitive.scratch > 0 {
      try add(DNNL_ARG_SCRATCHPAD, scratchpad - primitive.untouchedScratch)
    }
    let handle = try primitive.handle()
    guard
      dnnl_primitive_execute(handle, OneDNN.stream, Int32(list.count), list) == dnnl_success
    else { throw ModelError("The kernel \(primitive.implementation) failed to run.") }
  }

  private static let byte = MemoryDescriptor([1], .uint8, .plain)

  /// An object for a tensor that lies nowhere yet; whoever was given it destroys it.
  static func memory(of descriptor: MemoryDescriptor?) throws(ModelError) -> dnnl_memory_t? {
    var memory: dnnl_memory_t?
    let status = withExtendedLifetime(descriptor) {
      // No address yet, and nothing to be filled.
      stowage_memory(&memory, descriptor?.raw, OneDNN.engine, nil)
    }
    guard status == dnnl_success else { throw ModelError("oneDNN ran out of memory.") }
    return memory
  }
}

/// Objects for a tensor whose padding is filled with zeros whenever it is told where it lies.
final class PaddedMemory: Sendable {
  private struct Idle: @unchecked Sendable {
    // Unchecked: behind a lock.
    var memories: [dnnl_memory_t?] = []
  }

  private let descriptor: MemoryDescriptor
  private let idle = Lock(Idle())

  init(_ descriptor: MemoryDescriptor) { self.descriptor = descriptor }

  deinit { idle.withLock { for memory in $0.memories { dnnl_memory_destroy(memory) } } }

  func take() throws(ModelError) -> dnnl_memory_t? {
    if let memory = idle.withLock({ $0.memories.popLast() }) { return memory }
    return try ArgumentList.memory(of: descriptor)
  }

  func give(_ memory: dnnl_memory_t?) { idle.withLock { $0.memories.append(memory) } }
}

extension MemoryDescriptor {
  /// Whether there is more memory than elements.
  var isPadded: Bool { withExtendedLifetime(self) { stowage_layout_padded(raw) != 0 } }
}
