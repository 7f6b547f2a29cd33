import Glibc
import HTTP
import Synchronization
import Vocabulary

/// How a loop turns a connection's bytes into requests, and answers into bytes.
extension Loop {
  /// Receives once: if there is more, the loop is told so again after the other connections.
  func receive(_ connection: Connection) {
    let received = connection.input.receive(connection.descriptor)
    if received < 0 {
      if errno != EINTR, errno != EAGAIN { close(connection) }
      return
    }
    if received == 0 {
      connection.inputEnded = true
      connection.abandon()
    }
    if connection.isLingering { connection.input.discard() }
    process(connection)
  }

  /// Makes requests of the bytes that came, as far as they go, and sends the answers there are.
  func process(_ connection: Connection) {
    var mayContinue = !connection.isClosed
    while mayContinue {
      repeat {
        connection.writeAnswers(date: date, draining: isDraining)
      } while nextRequest(connection)
      let wasFull = connection.output.count >= Limits.unsentBytes
      if connection.inputEnded, connection.exchanges.isEmpty, !connection.isLast, !wasFull {
        connection.isLast = true
        connection.input.discard()
      }
      flush(connection)
      // Requests that were left lying for lack of room are read as soon as it is there.
      mayContinue =
        wasFull && connection.output.count < Limits.unsentBytes && !connection.isClosed
    }
  }

  /// Hands one request to the handler.
  ///
  /// - Returns: Whether there may be another one.
  private func nextRequest(_ connection: Connection) -> Bool {
    guard !connection.isClosed, !connection.isLast, !connection.isLingering,
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
      // From the first byte on: a head that drips in must not renew its own patience.
      connection.headStart = wasSilent ? 0 : connection.headStart == 0 ? now : connection.headStart
      connection.deadline =
        wasSilent
        ? now + configuration.idleTimeout.wholeNanoseconds
        : connection.headStart + configuration.headTimeout.wholeNanoseconds
      return false
    }
    connection.headStart = 0
    // The interim answer must not overtake the answers before it.
    guard !connection.head.expectsContinue || connection.exchanges.isEmpty else { return false }
    switch connection.head.framing {
    case .length(let length):
      connection.phase = .body(length: length)
      try countBody(connection, length)
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
      try countBody(connection, connection.input.count)
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

  /// Counts the memory of a large body, unless all of them together would need too much.
  private func countBody(_ connection: Connection, _ length: Int) throws(RequestError) {
    let added = length - connection.countedBytes
    guard length > Limits.smallBodyBytes, added > 0 else { return }
    connection.countedBytes += added
    let total = statistics.bodyBytes.add(added, ordering: .relaxed).newValue
    guard total <= configuration.bodyBytes else {
      throw RequestError(
        status: 503, message: "Too many large request bodies are being received: try again later.")
    }
  }

  /// The body's memory is free, or will be at once.
  func discountBody(_ connection: Connection) {
    statistics.bodyBytes.subtract(connection.countedBytes, ordering: .relaxed)
    connection.countedBytes = 0
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
    if connection.countedBytes > 0 { discountBody(connection) }
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
    var response = Response.error(error.status, error.message)
    if error.status == 503 { response.headers.append(("Retry-After", "1")) }
    exchange.response = response
    connection.exchanges.append(exchange)
    connection.isLast = true
    connection.phase = .head
    connection.input.discard()
    discountBody(connection)
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
