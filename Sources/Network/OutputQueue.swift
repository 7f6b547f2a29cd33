import Glibc

/// Bytes to send, in order: large bodies as they are, everything small in one piece.
struct OutputQueue {
  /// What happened to the bytes.
  enum Result {
    case sent
    case blocked
    case broken
  }

  /// A body from this size on is not copied.
  private static let large = 8 << 10

  private var closed: [[UInt8]] = []
  private var open: [UInt8] = []
  /// Bytes of the first piece that are sent already.
  private var sent = 0
  /// Bytes to send.
  private(set) var count = 0

  var isEmpty: Bool { count == 0 }

  /// Appends what the closure writes.
  mutating func write(_ body: (inout [UInt8]) -> Void) {
    let before = open.count
    body(&open)
    count += open.count - before
  }

  /// Appends a body.
  mutating func append(_ body: [UInt8]) {
    count += body.count
    guard body.count >= Self.large else { return open.append(contentsOf: body) }
    if !open.isEmpty {
      closed.append(open)
      open = []
    }
    closed.append(body)
  }

  /// Sends as much as the socket takes.
  mutating func flush(_ descriptor: Int32) -> Result {
    while count > 0 {
      let written = sendOnce(descriptor)
      guard written >= 0 else {
        if errno == EINTR { continue }
        return errno == EAGAIN ? .blocked : .broken
      }
      advance(written)
    }
    return .sent
  }

  private func sendOnce(_ descriptor: Int32) -> Int {
    if closed.isEmpty {
      return open.withUnsafeBytes { bytes in
        guard let base = bytes.baseAddress else { return 0 }
        return send(descriptor, base + sent, bytes.count - sent, Int32(MSG_NOSIGNAL))
      }
    }
    // A large body and the head before it leave together.
    let second = closed.count > 1 ? closed[1] : open
    return closed[0].withUnsafeBytes { first in
      second.withUnsafeBytes { second in
        var pieces = [
          iovec(
            iov_base: UnsafeMutableRawPointer(mutating: first.baseAddress).map { $0 + sent },
            iov_len: first.count - sent),
          iovec(
            iov_base: UnsafeMutableRawPointer(mutating: second.baseAddress), iov_len: second.count),
        ]
        return pieces.withUnsafeMutableBufferPointer { pieces in
          var message = msghdr()
          message.msg_iov = pieces.baseAddress
          message.msg_iovlen = second.isEmpty ? 1 : 2
          return sendmsg(descriptor, &message, Int32(MSG_NOSIGNAL))
        }
      }
    }
  }

  private mutating func advance(_ written: Int) {
    count -= written
    sent += written
    while let first = closed.first, sent >= first.count {
      sent -= first.count
      closed.removeFirst()
    }
    if closed.isEmpty, sent >= Self.large, sent * 2 >= open.count {
      // A client that never takes everything must not keep what it took in memory.
      open.removeFirst(sent)
      sent = 0
    }
    guard count == 0 else { return }
    open.removeAll(keepingCapacity: open.capacity <= 64 << 10)
    sent = 0
  }
}
