import COneDNN
import Glibc
import Models
import Vocabulary

/// The one CPU engine of oneDNN, and the stream of each thread.
enum OneDNN {
  /// Shared by all primitives; oneDNN's engines are safe to share.
  nonisolated(unsafe) static let engine: dnnl_engine_t? = {
    dnnl_set_primitive_cache_capacity(4096)
    var engine: dnnl_engine_t?
    return dnnl_engine_create(&engine, dnnl_cpu, 0) == dnnl_success ? engine : nil
  }()

  /// Runs on the calling thread and its team; holds no state on CPUs.
  nonisolated(unsafe) static let stream: dnnl_stream_t? = {
    var stream: dnnl_stream_t?
    let flags = UInt32(dnnl_stream_default_flags.rawValue)
    return dnnl_stream_create(&stream, engine, flags) == dnnl_success ? stream : nil
  }()

  private typealias SetThreads = @convention(c) (Int32) -> Void

  /// oneDNN brings OpenMP along; the function is found where it was loaded.
  private static let setThreads: SetThreads? = dlsym(nil, "omp_set_num_threads").map {
    unsafeBitCast($0, to: SetThreads.self)
  }

  /// Sets how many threads the calling thread's next parallel work uses.
  static func use(units: Int) { setThreads?(Int32(units)) }

  private typealias Work = @convention(c) (UnsafeMutableRawPointer?) -> Void
  private typealias RunTeam =
    @convention(c) (Work, UnsafeMutableRawPointer?, UInt32, UInt32) -> Void
  private typealias Count = @convention(c) () -> Int32

  /// What compilers call for a parallel region, so that our kernels share the library's team.
  private static let team: (run: RunTeam, thread: Count, threads: Count)? = {
    guard let run = dlsym(nil, "GOMP_parallel"), let thread = dlsym(nil, "omp_get_thread_num"),
      let threads = dlsym(nil, "omp_get_num_threads")
    else { return nil }
    return (
      unsafeBitCast(run, to: RunTeam.self), unsafeBitCast(thread, to: Count.self),
      unsafeBitCast(threads, to: Count.self)
    )
  }()

  /// Calls the body once on each thread of the calling thread's team, and waits for all of them.
  ///
  /// - Parameter body: Takes the number of the thread and how many there are.
  static func parallel(_ body: (Int, Int) -> Void) {
    guard let team else { return body(0, 1) }
    withoutActuallyEscaping(body) { body in
      var job = body
      withUnsafeMutablePointer(to: &job) { job in
        team.run(
          { job in
            guard let job = job?.assumingMemoryBound(to: ((Int, Int) -> Void).self),
              let team = OneDNN.team
            else { return }
            job.pointee(Int(team.thread()), Int(team.threads()))
          }, job, 0, 0)
      }
    }
  }
}

/// What follows a convolution or product in the same kernel.
struct PostOperations {
  /// Adds to what the destination holds instead of replacing it.
  var addsToDestination = false
  var activation: Activation?
  var quantization: Quantization?
  /// What follows the activation, in this order.
  var further: [Activation] = []
}

/// How a kernel for 8-bit integers makes its result of exact sums.
struct Quantization {
  /// What sums are multiplied by: one number, or one for each channel.
  var scales: [Float]
  /// The zero point of the input, and what is added to the rounded result.
  var sourceZero: Int32
  var destinationZero: Int32
  /// Whether weights begin with an axis of groups.
  var hasGroups = false

  /// Whether a bias is added to sums that are scaled already, in units of the result; oneDNN 2 adds
  /// it to the sums themselves.
  static let scalesComeFirst = stowage_scales_are_arguments() != 0
}

/// A function of one number that oneDNN knows.
struct Activation {
  var algorithm: dnnl_alg_kind_t
  var alpha: Float = 0
  var beta: Float = 0
}

/// A oneDNN primitive: immutable, usable from several threads with a scratchpad each.
final class Primitive: @unchecked Sendable {
  // Unchecked: oneDNN's primitives are thread safe when the scratchpad is the caller's.

  let handle: dnnl_primitive_t
  /// The primitive's own: the one that it was made of is a copy of several KiB.
  private let description: const_dnnl_primitive_desc_t
  /// Bytes that a run needs besides its arguments.
  let scratch: Int
  /// Bytes before those that belong to oneDNN's scratchpad, but that no run touches.
  let untouchedScratch: Int
  private let scratchLayout: MemoryDescriptor?
  /// What oneDNN 3 wants to be given with each run.
  let quantization: QuantizationArguments?

  /// Makes a primitive; nil where oneDNN has no implementation.
  convenience init?(_ operation: Operation, _ post: PostOperations = PostOperations()) {
    var description: dnnl_primitive_desc_t?
    guard operation.describe(&description, post), let description else { return nil }
    self.init(description: description, post.quantization.map(QuantizationArguments.init))
  }

  /// - Parameter made: Belongs to the primitive from here on.
  private init?(
    description made: dnnl_primitive_desc_t, _ quantization: QuantizationArguments?
  ) {
    defer { dnnl_primitive_desc_destroy(made) }
    var handle: dnnl_primitive_t?
    var own: const_dnnl_primitive_desc_t?
    guard dnnl_primitive_create(&handle, made) == dnnl_success, let handle else { return nil }
    guard dnnl_primitive_get_primitive_desc(handle, &own) == dnnl_success, let description = own
    else {
      dnnl_primitive_destroy(handle)
      return nil
    }
    self.handle = handle
    self.description = description
    self.quantization = quantization
    scratchLayout = stowage_layout_of(description, dnnl_query_scratchpad_md).map {
      MemoryDescriptor(owning: $0)
    }
    untouchedScratch = stowage_untouched_scratch(description)
    scratch = (scratchLayout?.byteCount ?? 0) - untouchedScratch
  }

  deinit { dnnl_primitive_destroy(handle) }

  /// The layout that oneDNN chose for an argument.
  func descriptor(_ query: dnnl_query_t) -> MemoryDescriptor? {
    stowage_layout_of(description, query).map { MemoryDescriptor(owning: $0) }
  }

  /// The name of the implementation, for people.
  var implementation: String { Self.implementation(description) }

  private static func implementation(_ description: const_dnnl_primitive_desc_t) -> String {
    var name: UnsafePointer<CChar>?
    let status = dnnl_primitive_desc_query(description, dnnl_query_impl_info_str, 0, &name)
    return status == dnnl_success ? name.map { String(cString: $0) } ?? "" : ""
  }

  /// Runs with arguments in memory.
  func run(
    _ arguments: [(argument: Int32, descriptor: MemoryDescriptor, data: UnsafeMutableRawPointer)],
    scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    var list: [dnnl_exec_arg_t] = []
    list.reserveCapacity(arguments.count + 4)
    defer { for item in list { dnnl_memory_destroy(item.memory) } }
    for (argument, descriptor, data) in arguments + (quantization?.arguments ?? []) {
      list.append(dnnl_exec_arg_t(arg: argument, memory: try memory(descriptor, data)))
    }
    if scratch > 0, let scratchLayout {
      let memory = try memory(scratchLayout, scratchpad - untouchedScratch)
      list.append(dnnl_exec_arg_t(arg: DNNL_ARG_SCRATCHPAD, memory: memory))
    }
    guard
      dnnl_primitive_execute(handle, OneDNN.stream, Int32(list.count), list) == dnnl_success
    else { throw ModelError("The kernel \(implementation) failed to run.") }
  }

  private func memory(
    _ descriptor: MemoryDescriptor, _ data: UnsafeMutableRawPointer
  ) throws(ModelError) -> dnnl_memory_t? {
    var memory: dnnl_memory_t?
    let status = withExtendedLifetime(descriptor) {
      stowage_memory(&memory, descriptor.raw, OneDNN.engine, data)
    }
    guard status == dnnl_success else {
      throw ModelError("oneDNN ran out of memory.")
    }
    return memory
  }
}

/// Scales and zero points where oneDNN takes them as arguments.
final class QuantizationArguments {
  private let memory: UnsafeMutableRawPointer
  private(set) var arguments:
    [(argument: Int32, descriptor: MemoryDescriptor, data: UnsafeMutableRawPointer)] = []

  init(_ quantization: Quantization) {
    let scales = quantization.scales
    memory = .allocate(byteCount: scales.count * 4 + 128, alignment: 64)
    guard Quantization.scalesComeFirst else { return }
    let zeros = (memory + 0).bindMemory(to: Int32.self, capacity: 32)
    let floats = (memory + 128).bindMemory(to: Float.self, capacity: scales.count)
    zeros[0] = quantization.sourceZero
    zeros[16] = quantization.destinationZero
    for (index, scale) in scales.enumerated() { floats[index] = scale }
    append(0, [scales.count], .float32, memory + 128)
    if quantization.sourceZero != 0 { append(1, [1], .int32, memory) }
    if quantization.destinationZero != 0 { append(2, [1], .int32, memory + 64) }
  }

  deinit { memory.deallocate() }

  private func append(
    _ which: Int32, _ shape: [Int], _ type: ElementType, _ place: UnsafeMutableRawPointer
  ) {
    guard let descriptor = MemoryDescriptor(shape, type, .plain) else { return }
    arguments.append((stowage_quantization_argument(which), descriptor, place))
  }
}
