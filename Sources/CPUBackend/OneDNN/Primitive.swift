import COneDNN
import Glibc
import Models
import Synchronization
import Threads
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

  /// The same on some threads of the team at most: as many as have scratch of their own.
  static func parallel(atMost most: Int, _ body: (Int, Int) -> Void) {
    parallel { thread, team in
      let threads = min(team, most)
      if thread < threads { body(thread, threads) }
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
///
/// Described at once, which tells layouts and scratch; its code, which takes ten times as long and
/// more memory, is made when it runs first or somebody makes it ahead: some layers of a plan never
/// run with so many samples.
final class Primitive: @unchecked Sendable {
  // Unchecked: oneDNN's primitives are thread safe when the scratchpad is the caller's.

  private struct State: @unchecked Sendable {
    // Unchecked: behind a lock.

    /// Until the code is made: a copy of several KiB of what the primitive has itself.
    var given: dnnl_primitive_desc_t?
    var description: const_dnnl_primitive_desc_t?
    var handle: dnnl_primitive_t?
  }

  private let state: Lock<State>
  /// The handle once there is one, to be had without the lock.
  private let made = Atomic<UnsafeRawPointer?>(nil)
  /// Bytes that a run needs besides its arguments.
  let scratch: Int
  /// Bytes before those that belong to oneDNN's scratchpad, but that no run touches.
  let untouchedScratch: Int
  /// What oneDNN 3 wants to be given with each run.
  let quantization: QuantizationArguments?

  /// Describes a primitive; nil where oneDNN has no implementation.
  init?(_ operation: Operation, _ post: PostOperations = PostOperations()) {
    var description: dnnl_primitive_desc_t?
    guard operation.describe(&description, post), let description else { return nil }
    state = Lock(State(given: description, description: description))
    quantization = post.quantization.map(QuantizationArguments.init)
    untouchedScratch = stowage_untouched_scratch(description)
    let layout = stowage_layout_of(description, dnnl_query_scratchpad_md).map {
      MemoryDescriptor(owning: $0)
    }
    scratch = (layout?.byteCount ?? 0) - untouchedScratch
  }

  deinit {
    state.withLock { state in
      if let given = state.given { dnnl_primitive_desc_destroy(given) }
      if let handle = state.handle { dnnl_primitive_destroy(handle) }
    }
  }

  /// The primitive with its code, made by the first who asks for the number of threads that it has
  /// then: kernels are for one.
  ///
  /// - Throws: `ModelError`, when there is no memory for it.
  func handle() throws(ModelError) -> dnnl_primitive_t {
    if let made = made.load(ordering: .acquiring) { return OpaquePointer(made) }
    return try state.withLock { (state) throws(ModelError) in
      if let handle = state.handle { return handle }
      var handle: dnnl_primitive_t?
      guard let given = state.given, dnnl_primitive_create(&handle, given) == dnnl_success,
        let handle
      else { throw ModelError("oneDNN ran out of memory for a kernel.") }
      var own: const_dnnl_primitive_desc_t?
      if dnnl_primitive_get_primitive_desc(handle, &own) == dnnl_success, let own {
        dnnl_primitive_desc_destroy(given)
        (state.given, state.description) = (nil, own)
      }
      state.handle = handle
      made.store(UnsafeRawPointer(handle), ordering: .releasing)
      return handle
    }
  }

  /// The layout that oneDNN chose for an argument.
  func descriptor(_ query: dnnl_query_t) -> MemoryDescriptor? {
    state.withLock { state in
      state.description.flatMap { stowage_layout_of($0, query) }
        .map { MemoryDescriptor(owning: $0) }
    }
  }

  /// The name of the implementation, for people.
  var implementation: String {
    state.withLock { $0.description.map(Self.implementation) ?? "" }
  }

  /// The implementation that oneDNN would choose, without making its code; nil where it has none.
  static func implementation(_ operation: Operation, _ post: PostOperations) -> String? {
    var description: dnnl_primitive_desc_t?
    guard operation.describe(&description, post), let description else { return nil }
    defer { dnnl_primitive_desc_destroy(description) }
    return implementation(description)
  }

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
    let kernel = PrimitiveKernel(
      primitive: self,
      arguments: arguments.enumerated().map {
        .init(argument: $1.argument, descriptor: $1.descriptor, operand: $0)
      })
    try kernel.run(arguments.map(\.data), scratchpad: scratchpad)
  }
}

/// Scales and zero points where oneDNN takes them as arguments.
final class QuantizationArguments {
  private let memory: UnsafeMutableRawPointer
  private(set) var arguments: [(argument: Int32, memory: dnnl_memory_t?)] = []

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

  deinit {
    for argument in arguments { dnnl_memory_destroy(argument.memory) }
    memory.deallocate()
  }

  private func append(
    _ which: Int32, _ shape: [Int], _ type: ElementType, _ place: UnsafeMutableRawPointer
  ) {
    guard let descriptor = MemoryDescriptor(shape, type, .plain),
      let memory = try? ArgumentList.memory(of: descriptor)
    else { return }
    dnnl_memory_set_data_handle(memory, place)
    arguments.append((stowage_quantization_argument(which), memory))
  }
}
