import Glibc
import HTTP
import Synchronization
import Vocabulary

/// How a loop turns a connection's bytes into requests, and answers into bytes.
extension Loop {
  /// Receives what is there, a bounded amount at a time so that every connection gets its turn.
  func receive(_ connection: Connection) {
    for _ in 0..<16 {
      let received = connection.input.receive(connection.descriptor)
      if received == 0 { connection.inputEnded = true }
      if received < 0, errno == EINTR { continue }
      if received < 0, errno != EAGAIN { return close(connection) }
      if connection.isLingering { connection.input.discard() }
      guard received > 0 else { break }
    }
    process(connection)
  }

  /// Makes requests of the bytes that came, as far as they go, and sends the answers that are there.
  func process(_ connection: Connection) {
    while !connection.isClosed {
      connection.writeAnswers(date: date, draining: isDraining)
      guard nextRequest(connection) else { break }
    }
    guard !connection.isClosed else { return }
    if connection.inputEnded, connection.exchanges.isEmpty, !connection.isLast {
      connection.isLast = true
      connection.input.discard()
    }
    flush(connection)
  }

  /// Hands one request to the handler.
  ///
  /// - Returns: Whether there may be another one.
  private func nextRequest(_ connection: Connection) -> Bool {
    guard !connection.isLast, !connection.isLingering,
      connection.exchanges.count < Limits.pipelinedRequests,
      connection.output.count < Limits.unsentBytes
    else { return false }
    do throws(RequestError) {
      if case .head = connection.phase {
        guard try beginRequest(connection) else { return false }
      }
      guard let length = try bodyLength(connection) else { return false }
      dispatch(connection, bodyLength: length)
      return true
    } catch {
      refuse(connection, error)
      return false
    }
  }

  /// Reads a head and says how its body is to be read.
  private func beginRequest(_ connection: Connection) throws(RequestError) -> Bool {
    let wasSilent = connection.input.count == 0
    guard !wasSilent, try connection.head.parse(connection.input.bytes) else {
      let patience = wasSilent ? configuration.idleTimeout : configuration.headTimeout
      connection.deadline = now + patience.wholeNanoseconds
      return false
    }
    // The interim answer must not overtake the answers before it.
    guard !connection.head.expectsContinue || connection.exchanges.isEmpty else { return false }
    switch connection.head.framing {
    case .length(let length):
      connection.phase = .body(length: length)
      connection.input.reserve(connection.head.byteCount + length)
    case .chunked:
      connection.phase = .chunks
      connection.decoder = ChunkedDecoder()
    }
    connection.bodyStart = now
    if connection.head.expectsContinue, try bodyLength(connection) == nil {
      connection.output.write { $0.append(contentsOf: ResponseHead.goOn) }
    }
    return true
  }

  /// The length of the body once all of it is there, chunked coding taken off.
  private func bodyLength(_ connection: Connection) throws(RequestError) -> Int? {
    let head = connection.head.byteCount
    switch connection.phase {
    case .body(let length) where connection.input.count >= head + length: return length
    case .chunks:
      let body = UnsafeMutableRawBufferPointer(rebasing: connection.input.bytes[head...])
      if try connection.decoder.decode(body) { return connection.decoder.count }
    default: break
    }
    let earned = Int64(connection.input.count) * 1_000_000_000
    connection.deadline =
      connection.bodyStart + configuration.bodyTimeout.wholeNanoseconds
      + earned / Int64(configuration.slowestBodyRate)
    return nil
  }

  private func dispatch(_ connection: Connection, bodyLength: Int) {
    let head = connection.head.byteCount
    let bytes = UnsafeRawBufferPointer(connection.input.bytes)
    let exchange = reusableExchange(connection)
    exchange.isHead = connection.head.isHead
    exchange.closes = !connection.head.keepsAlive
    if exchange.closes { connection.isLast = true }
    connection.exchanges.append(exchange)
    connection.deadline = .max
    statistics.requests.add(1, ordering: .relaxed)
    connection.isInHandler = true
    handler.handle(
      connection.head.request(
        bytes, body: UnsafeRawBufferPointer(rebasing: bytes[head..<head + bodyLength])),
      sink: exchange)
    connection.isInHandler = false
    if case .chunks = connection.phase {
      connection.input.consume(head + connection.decoder.consumed)
    } else {
      connection.input.consume(head + bodyLength)
    }
    connection.phase = .head
  }

  private func reusableExchange(_ connection: Connection) -> Exchange {
    if var spare = connection.spare {
      connection.spare = nil
      // A handler that still holds the last exchange must not be given its successor's answer.
      if isKnownUniquelyReferenced(&spare) { return spare }
    }
    return Exchange(loop: self, connection: connection)
  }

  /// Answers a request that cannot be read, after the answers before it, and reads no other.
  func refuse(_ connection: Connection, _ error: RequestError) {
    statistics.malformed.add(1, ordering: .relaxed)
    let exchange = Exchange(loop: self, connection: connection)
    exchange.closes = true
    exchange.response = .error(error.status, error.message)
    connection.exchanges.append(exchange)
    connection.isLast = true
    connection.phase = .head
    connection.input.discard()
    connection.writeAnswers(date: date, draining: isDraining)
  }

  /// Sends what is to be sent and closes what is done.
  func flush(_ connection: Connection) {
    switch connection.output.flush(connection.descriptor) {
    case .broken: return close(connection)
    case .blocked: connection.deadline = now + configuration.writeTimeout.wholeNanoseconds
    case .sent: finish(connection)
    }
    settle(connection)
  }

  /// Everything is sent: ends the connection if it was to end, else waits for the next request.
  private func finish(_ connection: Connection) {
    guard connection.exchanges.isEmpty else {
      connection.deadline = .max
      return
    }
    if connection.isLingering || connection.isLast || (isDraining && connection.isIdle) {
      guard !connection.inputEnded else { return close(connection) }
      guard !connection.isLingering else { return }
      connection.phase = .lingering
      connection.input.discard()
      connection.deadline = now + 2_000_000_000
      shutdown(connection.descriptor, Int32(SHUT_WR))
    } else if connection.isIdle {
      connection.deadline = now + configuration.idleTimeout.wholeNanoseconds
    }
  }
}
