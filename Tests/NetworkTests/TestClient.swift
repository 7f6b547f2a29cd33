import Glibc
import HTTP
import Network
import Threads
import Vocabulary

/// A blocking client that sends exactly the bytes it is given.
final class TestClient {
  private let descriptor: Int32
  private var received: [UInt8] = []

  init(port: Int) {
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = UInt16(port).bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        _ = connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    var patience = timeval(tv_sec: 20, tv_usec: 0)
    setsockopt(
      descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
  }

  deinit { close(descriptor) }

  func send(_ text: String) { send(Array(text.utf8)) }

  func send(_ bytes: [UInt8]) {
    var rest = bytes[...]
    while !rest.isEmpty {
      let sent = rest.withUnsafeBytes {
        Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
      }
      guard sent > 0 else { return }
      rest = rest.dropFirst(sent)
    }
  }

  /// Whether something came, or the end, within so many milliseconds.
  func isReadable(within milliseconds: Int32) -> Bool {
    var descriptor = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    return poll(&descriptor, 1, milliseconds) > 0
  }

  /// Sends no more, but still receives.
  func finishSending() { shutdown(descriptor, Int32(SHUT_WR)) }

  /// The next answer: status, head and body; nil when the server has closed.
  func answer(hasBody: Bool = true) -> (status: Int, head: String, body: [UInt8])? {
    while true {
      if let end = find([13, 10, 13, 10]) {
        let head = String(decoding: received[..<end], as: UTF8.self)
        let parts = head.split(separator: " ")
        let status = parts.count > 1 ? Int(parts[1]) ?? 0 : 0
        let length = hasBody ? contentLength(head) : 0
        if received.count >= end + 4 + length {
          let body = Array(received[(end + 4)..<(end + 4 + length)])
          received.removeFirst(end + 4 + length)
          return (status, head, body)
        }
      }
      guard receive() else { return nil }
    }
  }

  /// Whether the server has closed and nothing more comes.
  func isAtEnd() -> Bool {
    while receive() {}
    return received.isEmpty
  }

  private func receive() -> Bool {
    var buffer = [UInt8](repeating: 0, count: 64 << 10)
    let count = recv(descriptor, &buffer, buffer.count, 0)
    guard count > 0 else { return false }
    received += buffer[..<count]
    return true
  }

  private func contentLength(_ head: String) -> Int {
    for line in head.split(separator: "\r\n") where line.hasPrefix("Content-Length: ") {
      return Int(line.dropFirst(16)) ?? 0
    }
    return 0
  }

  private func find(_ pattern: [UInt8]) -> Int? {
    guard received.count >= pattern.count else { return nil }
    return (0...received.count - pattern.count).first {
      received[$0..<$0 + pattern.count].elementsEqual(pattern)
    }
  }
}

/// Answers with the body; `/later/N` is answered by another thread when `release(N)` is called.
final class EchoHandler: RequestHandler {
  let later = Lock<[String: any ResponseSink]>([:])
  let disconnected = Lock<[String]>([])

  func handle(_ request: borrowing Request, sink: any ResponseSink) {
    let path = request.path
    if path.hasPrefix("/later/") {
      let gone = disconnected
      sink.onDisconnect { gone.notify { $0.append(path) } }
      later.notify { $0[path] = sink }
    } else if path == "/large" {
      sink.send(Response(status: 200, body: [UInt8](repeating: 7, count: 32 << 20)))
    } else {
      sink.send(Response(status: 200, body: Array(request.body)))
    }
  }

  /// Answers a request that waits, from the calling thread, once it has come.
  func release(_ path: String) {
    let sink = later.wait { $0.removeValue(forKey: path) }
    sink.send(Response(status: 200, body: Array(path.utf8)))
  }
}

/// A server on a free port for the length of a test.
func withServer(
  _ change: (inout ServerConfiguration) -> Void = { _ in },
  _ body: (Server, EchoHandler) throws -> Void
) throws {
  var configuration = ServerConfiguration(port: 0, loops: 2)
  change(&configuration)
  let handler = EchoHandler()
  let server = try Server(configuration: configuration, handler: handler)
  server.start()
  defer {
    server.drain(within: .seconds(5))
    // A sink knows its loop, which knows the handler.
    handler.later.withLock { $0.removeAll() }
  }
  try body(server, handler)
}
