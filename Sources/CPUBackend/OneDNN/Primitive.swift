import COneDNN
import Glibc
import Models

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

  /// Whether the processor multiplies matrices of BF16 in one instruction (AMX).
  static let hasMatrixUnits: Bool = {
    let needed = dnnl_cpu_isa_avx512_core_amx.rawValue
    return dnnl_get_effective_cpu_isa().rawValue & needed == needed
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
  /// What follows the activation, in this order.
  var further: [Activation] = []
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

  /// Makes a primitive of an operation descriptor; nil where oneDNN has no implementation.
  convenience init?<Operation>(_ operation: Operation, _ post: PostOperations = PostOperations()) {
    guard let attributes = Self.attributes(post) else { return nil }
    defer { dnnl_primitive_attr_destroy(attributes) }
    var description: dnnl_primitive_desc_t?
    let status = withUnsafePointer(to: operation) {
      dnnl_primitive_desc_create(&description, $0, attributes, OneDNN.engine, nil)
    }
    guard status == dnnl_success, let description else { return nil }
    self.init(description: description)
  }

  /// Makes a primitive whose descriptor is created by the closure, as copies and joins are.
  convenience init?(
    create: (UnsafeMutablePointer<dnnl_primitive_desc_t?>) -> dnnl_status_t
  ) {
    var description: dnnl_primitive_desc_t?
    guard create(&description) == dnnl_success, let description else { return nil }
    self.init(description: description)
  }

  /// - Parameter made: Belongs to the primitive from here on.
  private init?(description made: dnnl_primitive_desc_t) {
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
    let scratchpad = dnnl_primitive_desc_query_md(description, dnnl_query_scratchpad_md, 0)
    let untouched = Self.untouchedScratch(description)
    scratch = scratchpad.map { Int(dnnl_memory_desc_get_size($0)) - untouched } ?? 0
    untouchedScratch = untouched
  }

  /// oneDNN's larger Winograd kernel begins its scratchpad with room for transformed weights, also
  /// where the weights come transformed: 38 of 51 MB for a layer of VGG-19.
  private static func untouchedScratch(_ description: const_dnnl_primitive_desc_t) -> Int {
    guard implementation(description).hasPrefix("jit_wino_4x3"),
      let weights = dnnl_primitive_desc_query_md(description, dnnl_query_weights_md, 0),
      weights.pointee.format_kind == dnnl_format_kind_wino
    else { return 0 }
    return dnnl_memory_desc_get_size(weights) & ~4095
  }

  deinit { dnnl_primitive_destroy(handle) }

  /// The layout that oneDNN chose for an argument.
  func descriptor(_ query: dnnl_query_t) -> MemoryDescriptor? {
    dnnl_primitive_desc_query_md(description, query, 0).map { MemoryDescriptor(raw: $0.pointee) }
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
    list.reserveCapacity(arguments.count + 1)
    defer { for item in list { dnnl_memory_destroy(item.memory) } }
    for (argument, descriptor, data) in arguments {
      list.append(dnnl_exec_arg_t(arg: argument, memory: try memory(descriptor.raw, data)))
    }
    if scratch > 0,
      let descriptor = dnnl_primitive_desc_query_md(description, dnnl_query_scratchpad_md, 0)
    {
      let memory = try memory(descriptor.pointee, scratchpad - untouchedScratch)
      list.append(dnnl_exec_arg_t(arg: DNNL_ARG_SCRATCHPAD, memory: memory))
    }
    guard
      dnnl_primitive_execute(handle, OneDNN.stream, Int32(list.count), list) == dnnl_success
    else { throw ModelError("The kernel \(implementation) failed to run.") }
  }

  private func memory(
    _ descriptor: dnnl_memory_desc_t, _ data: UnsafeMutableRawPointer
  ) throws(ModelError) -> dnnl_memory_t? {
    var memory: dnnl_memory_t?
    let status = withUnsafePointer(to: descriptor) {
      dnnl_memory_create(&memory, $0, OneDNN.engine, data)
    }
    guard status == dnnl_success else { throw ModelError("oneDNN ran out of memory.") }
    return memory
  }

  private static func attributes(_ post: PostOperations) -> dnnl_primitive_attr_t? {
    var attributes: dnnl_primitive_attr_t?
    guard dnnl_primitive_attr_create(&attributes) == dnnl_success else { return nil }
    dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user)
    var operations: dnnl_post_ops_t?
    dnnl_post_ops_create(&operations)
    defer { dnnl_post_ops_destroy(operations) }
    if post.addsToDestination { dnnl_post_ops_append_sum(operations, 1) }
    for activation in (post.activation.map { [$0] } ?? []) + post.further {
      dnnl_post_ops_append_eltwise(
        operations, 1, activation.algorithm, activation.alpha, activation.beta)
    }
    dnnl_primitive_attr_set_post_ops(attributes, operations)
    return attributes
  }
}
