import CLinux
import Glibc

/// A thread with a name, started at once.
public final class Thread: @unchecked Sendable {
  // Unchecked: the handle is written once, before anyone else can see the object.
  private var handle = pthread_t()

  /// Starts a thread.
  ///
  /// - Parameters:
  ///   - name: What tools show; at most 15 bytes are kept.
  ///   - body: What it does.
  public init(_ name: String, _ body: @escaping @Sendable () -> Void) {
    let box = Unmanaged.passRetained(Start(name: name, body: body))
    let failure = pthread_create(&handle, nil, enterThread, box.toOpaque())
    guard failure == 0 else {
      box.release()
      fatalError("The thread '\(name)' could not be started: error \(failure).")
    }
  }

  /// Waits until it has ended; to be called once.
  public func join() { pthread_join(handle, nil) }
}

/// What a new thread is given.
private final class Start: Sendable {
  let name: String
  let body: @Sendable () -> Void

  init(name: String, body: @escaping @Sendable () -> Void) {
    self.name = name
    self.body = body
  }
}

/// A top-level function: a closure literal inside `main` would inherit the main actor and trap
/// here.
private func enterThread(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  guard let argument else { return nil }
  let start = Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
  stowage_thread_name(start.name)
  start.body()
  return nil
}
