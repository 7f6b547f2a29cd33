import CLinux
import Glibc
public import HTTP
import Synchronization
import Threads
import Vocabulary

/// An HTTP/1.1 server: one listening socket, served by a few loops with a thread each.
///
/// The loops share the socket and the kernel wakes one of them for each connection, so that a few
/// busy connections spread over the loops; sockets of their own would spread by address hash.
public final class Server: Sendable {
  /// Numbers that only grow, but for the open connections.
  public final class Statistics: Sendable {
    let opened = Atomic<Int>(0)
    let closed = Atomic<Int>(0)
    let requests = Atomic<Int>(0)
    let malformed = Atomic<Int>(0)
    let bodyBytes = Atomic<Int>(0)

    /// Connections that are open now.
    public var openConnections: Int {
      max(0, opened.load(ordering: .relaxed) - closed.load(ordering: .relaxed))
    }

    /// Connections that were ever opened.
    public var connections: Int { opened.load(ordering: .relaxed) }

    /// Requests that reached the handler.
    public var handledRequests: Int { requests.load(ordering: .relaxed) }

    /// Requests that were refused before, for their form.
    public var malformedRequests: Int { malformed.load(ordering: .relaxed) }

    /// Bytes of the large bodies that are being received now.
    public var heldBodyBytes: Int { bodyBytes.load(ordering: .relaxed) }
  }

  /// The port that is listened on.
  public let port: Int
  /// What has happened so far.
  public let statistics = Statistics()
  private let descriptor: Int32
  private let loops: [Loop]
  private let threads = Lock<[Thread]>([])
  private let isDrained = Atomic(false)

  /// Listens, but serves nothing yet.
  ///
  /// - Throws: `ServerError`, when the address cannot be listened on.
  public init(
    configuration: ServerConfiguration, handler: any RequestHandler
  ) throws(ServerError) {
    let socket = try Socket.listen(host: configuration.host, port: configuration.port)
    descriptor = socket.descriptor
    port = socket.port
    var loops: [Loop] = []
    for _ in 0..<configuration.loops {
      loops.append(
        try Loop(
          listening: socket.descriptor, configuration: configuration, handler: handler,
          statistics: statistics))
    }
    self.loops = loops
  }

  /// Starts the loops' threads.
  public func start() {
    threads.withLock { threads in
      threads = loops.enumerated().map { index, loop in
        Thread("loop-\(index)") { loop.run() }
      }
    }
  }

  /// Takes no more connections, answers what was asked, and returns when all clients are gone.
  ///
  /// A second call returns at once.
  ///
  /// - Parameter patience: After this long the remaining connections are cut.
  public func drain(within patience: Duration) {
    let deadline = Clock.nanoseconds + patience.wholeNanoseconds
    guard !isDrained.exchange(true, ordering: .relaxed) else { return }
    for loop in loops { loop.drain(until: deadline) }
    // From here on clients are refused at once instead of waiting to be accepted.
    shutdown(descriptor, Int32(SHUT_RDWR))
    for thread in threads.withLock({ exchange(&$0, with: []) }) { thread.join() }
    close(descriptor)
  }

  private func exchange<Value>(_ place: inout Value, with value: Value) -> Value {
    defer { place = value }
    return place
  }
}
