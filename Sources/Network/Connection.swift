import Glibc
import HTTP

/// One client: what was received, what is being answered, what is to be sent.
///
/// Touched only by the thread of its loop.
final class Connection {
  /// What the connection is waiting for.
  enum Phase {
    /// A request's head.
    case head
    /// A body of known length.
    case body(length: Int)
    /// A chunked body.
    case chunks
    /// The client's end, after the last answer: what still comes is thrown away, so that the answer
    /// is not lost to a reset.
    case lingering
    case closed
  }

  let descriptor: Int32
  /// The connection's place in its loop.
  let slot: Int
  /// What its events carry: the slot, and a number that tells it from earlier users of the slot.
  let token: UInt64
  var phase = Phase.head
  var input = InputBuffer()
  var output = OutputQueue()
  var head = RequestHead()
  var decoder = ChunkedDecoder()
  /// Requests whose answers were not written yet, in order of arrival.
  var exchanges: [Exchange] = []
  /// The object of the last exchange, to be used again.
  var spare: Exchange?
  /// No further request is read: the last one asked for it, or was malformed.
  var isLast = false
  /// The handler is being called for this connection.
  var isInHandler = false
  /// Everything that the client sent was read.
  var inputEnded = false
  /// The client was seen to send no more.
  private(set) var isAbandoned = false
  /// When the first byte of a head that is not complete was seen, else 0.
  var headStart: Int64 = 0
  /// Bytes counted among the large bodies being received.
  var countedBytes = 0
  /// When patience ends, in nanoseconds of the monotonic clock.
  var deadline: Int64 = 0
  /// When the body began, and what of it has come.
  var bodyStart: Int64 = 0
  /// What the loop waits for on this socket.
  var interest: UInt32 = 0

  init(descriptor: Int32, slot: Int, number: Int) {
    self.descriptor = descriptor
    self.slot = slot
    token = UInt64(number & 0x7FFF_FFFF) << 32 | UInt64(slot)
  }

  var isClosed: Bool {
    if case .closed = phase { true } else { false }
  }

  var isLingering: Bool {
    if case .lingering = phase { true } else { false }
  }

  /// Nothing was received that is not answered.
  var isIdle: Bool {
    guard case .head = phase else { return false }
    return exchanges.isEmpty && output.isEmpty && input.count == 0
  }

  /// The client sends no more: whoever computes for it is told, once.
  func abandon() {
    guard !isAbandoned else { return }
    isAbandoned = true
    for exchange in exchanges { exchange.giveUp() }
  }

  /// Moves answers that are there, in order, to the output.
  func writeAnswers(date: [UInt8], draining: Bool) {
    while let exchange = exchanges.first, let response = exchange.response {
      exchanges.removeFirst()
      let closes = exchange.closes || (draining && exchanges.isEmpty)
      if closes { isLast = true }
      output.write {
        ResponseHead.write(response, date: date, closes: closes, into: &$0)
      }
      if !exchange.isHead { output.append(response.body) }
      exchange.reset()
      spare = exchange
    }
  }
}
