import CLinux
import Glibc
import HTTP
import Synchronization
import Threads
import Vocabulary

/// Serves the connections that it has accepted, all on one thread.
final class Loop: @unchecked Sendable {
  // Unchecked: everything but the mailbox is touched only by the loop's own thread.

  /// What other threads ask of the loop.
  private enum Message {
    case answer(Exchange, Response)
    case drain(until: Int64)
  }

  /// What stands behind an event: a connection's slot, or one of these.
  private enum Source {
    static let listener = UInt64.max
    static let mailbox = UInt64.max - 1
  }

  let configuration: ServerConfiguration
  let handler: any RequestHandler
  let statistics: Server.Statistics
  private let epoll: Int32
  private let wakeup: Int32
  private let listener: Int32
  private let mailbox = Lock<[Message]>([])
  private var thread = pthread_t()
  private var connections: [Connection?] = []
  private var freeSlots: [Int] = []
  private var openCount = 0
  private var acceptedCount = 0
  /// The listener is left alone until the next sweep, because descriptors ran out.
  private var isAcceptPaused = false
  /// Held back so that a connection can be refused when descriptors run out.
  private var reserve: Int32
  private var drainDeadline: Int64?
  private(set) var now: Int64 = 0
  private var nextSweep: Int64 = 0
  private var dateSecond = 0
  private(set) var date: [UInt8] = []

  init(
    listening listener: Int32, configuration: ServerConfiguration, handler: any RequestHandler,
    statistics: Server.Statistics
  ) throws(ServerError) {
    self.listener = listener
    self.configuration = configuration
    self.handler = handler
    self.statistics = statistics
    epoll = stowage_epoll_create()
    wakeup = stowage_eventfd()
    reserve = open("/dev/null", O_RDONLY | O_CLOEXEC)
    guard epoll >= 0, wakeup >= 0, listen(),
      stowage_epoll_add(epoll, wakeup, UInt32(STOWAGE_READABLE), Source.mailbox) == 0
    else {
      throw ServerError(
        description: "The event loop could not be set up: \(String(cString: strerror(errno))).")
    }
  }

  deinit {
    for descriptor in [epoll, wakeup, reserve] where descriptor >= 0 { close(descriptor) }
  }

  /// Waits for connections, too.
  private func listen() -> Bool {
    let interest = UInt32(STOWAGE_READABLE | STOWAGE_SHARED)
    return stowage_epoll_add(epoll, listener, interest, Source.listener) == 0
  }

  // MARK: From other threads

  /// Hands an answer to the loop; at once when called on its own thread.
  func deliver(_ response: Response, to exchange: Exchange) {
    if pthread_equal(pthread_self(), thread) != 0 {
      take(response, for: exchange)
    } else {
      post(.answer(exchange, response))
    }
  }

  func drain(until deadline: Int64) { post(.drain(until: deadline)) }

  private func post(_ message: Message) {
    let wasEmpty = mailbox.withLock { messages in
      messages.append(message)
      return messages.count == 1
    }
    guard wasEmpty else { return }
    var one: UInt64 = 1
    _ = write(wakeup, &one, MemoryLayout<UInt64>.size)
  }

  // MARK: The loop

  func run() {
    thread = pthread_self()
    var events = [stowage_event](repeating: stowage_event(), count: 128)
    while true {
      let found = stowage_epoll_wait(epoll, &events, Int32(events.count), 500)
      tellTime()
      for index in 0..<max(0, Int(found)) { serve(events[index]) }
      if now >= nextSweep { sweep() }
      if let drainDeadline, openCount == 0 || now >= drainDeadline { break }
    }
    for case let connection? in connections { close(connection) }
  }

  private func tellTime() {
    now = Clock.nanoseconds
    let second = time(nil)
    guard second != dateSecond else { return }
    dateSecond = second
    var (moment, parts) = (second, tm())
    gmtime_r(&moment, &parts)
    var text = [CChar](repeating: 0, count: 40)
    let length = strftime(&text, text.count, "%a, %d %b %Y %H:%M:%S GMT", &parts)
    date = text[..<length].map { UInt8(bitPattern: $0) }
  }

  private func serve(_ event: stowage_event) {
    switch event.data {
    case Source.listener: accept()
    case Source.mailbox: readMailbox()
    default:
      // An event may be older than the connection that its slot holds now.
      guard let connection = connections[Int(event.data & 0xFFFF_FFFF)],
        connection.token == event.data
      else { return }
      serve(connection, event.events)
    }
  }

  private func serve(_ connection: Connection, _ events: UInt32) {
    if events & UInt32(STOWAGE_BROKEN) != 0 { return close(connection) }
    if events & UInt32(STOWAGE_WRITABLE) != 0 { process(connection) }
    guard !connection.isClosed else { return }
    if events & UInt32(STOWAGE_READABLE) != 0, wantsInput(connection) {
      receive(connection)
    } else if events & UInt32(STOWAGE_ENDED) != 0 {
      connection.abandon()
      settle(connection)
    }
  }

  private func readMailbox() {
    var count: UInt64 = 0
    _ = read(wakeup, &count, MemoryLayout<UInt64>.size)
    let messages = mailbox.withLock { messages in
      defer { messages = [] }
      return messages
    }
    for message in messages {
      switch message {
      case .answer(let exchange, let response): take(response, for: exchange)
      case .drain(let deadline): beginDrain(until: deadline)
      }
    }
  }

  private func take(_ response: Response, for exchange: Exchange) {
    let connection = exchange.connection
    guard !connection.isClosed else { return }
    exchange.response = response
    // Inside the handler the connection is being served anyway and looks for answers afterwards.
    guard !connection.isInHandler else { return }
    process(connection)
  }

  private func beginDrain(until deadline: Int64) {
    guard drainDeadline == nil else { return }
    drainDeadline = deadline
    stowage_epoll_remove(epoll, listener)
    for case let connection? in connections where connection.isIdle { close(connection) }
  }

  var isDraining: Bool { drainDeadline != nil }

  // MARK: Connections

  private func accept() {
    for _ in 0..<16 {
      let descriptor = stowage_accept(listener)
      guard descriptor >= 0 else {
        let reason = errno
        let isPassing = reason == EAGAIN || reason == EINTR || reason == ECONNABORTED
        if !isPassing { refuseForLackOfDescriptors() }
        return
      }
      Socket.disableDelay(descriptor)
      let slot = freeSlots.popLast() ?? connections.count
      if slot == connections.count { connections.append(nil) }
      acceptedCount += 1
      let connection = Connection(descriptor: descriptor, slot: slot, number: acceptedCount)
      connections[slot] = connection
      openCount += 1
      let open =
        statistics.opened.add(1, ordering: .relaxed).newValue
        - statistics.closed.load(ordering: .relaxed)
      connection.deadline = now + configuration.headTimeout.wholeNanoseconds
      connection.interest = UInt32(STOWAGE_READABLE)
      guard stowage_epoll_add(epoll, descriptor, connection.interest, connection.token) == 0 else {
        close(connection)
        continue
      }
      if open > configuration.connections {
        refuse(connection, RequestError(status: 503, message: "Too many connections are open."))
        flush(connection)
      }
    }
  }

  /// Without this the loop would be woken for the same waiting connection for ever.
  private func refuseForLackOfDescriptors() {
    if reserve >= 0 { close(reserve) }
    let descriptor = stowage_accept(listener)
    if descriptor >= 0 { close(descriptor) }
    reserve = open("/dev/null", O_RDONLY | O_CLOEXEC)
    guard descriptor < 0 || reserve < 0 else { return }
    isAcceptPaused = true
    stowage_epoll_remove(epoll, listener)
  }

  func close(_ connection: Connection) {
    guard !connection.isClosed else { return }
    connection.phase = .closed
    Glibc.close(connection.descriptor)
    connections[connection.slot] = nil
    freeSlots.append(connection.slot)
    openCount -= 1
    statistics.closed.add(1, ordering: .relaxed)
    discountBody(connection)
    let exchanges = connection.exchanges
    connection.exchanges = []
    connection.spare = nil
    for exchange in exchanges { exchange.giveUp() }
  }

  private func close(_ descriptor: Int32) { Glibc.close(descriptor) }

  /// Ends connections whose patience is over.
  private func sweep() {
    nextSweep = now + 250_000_000
    if isAcceptPaused, !isDraining { isAcceptPaused = !listen() }
    for case let connection? in connections where connection.deadline <= now {
      let began = connection.input.count > 0 || !connection.isIdle
      if began, connection.output.isEmpty, connection.exchanges.isEmpty, !connection.isLingering {
        refuse(
          connection,
          RequestError(status: 408, message: "The request did not come in time."))
        flush(connection)
      } else {
        close(connection)
      }
    }
  }

  /// Waits for what the connection needs next, and for no longer than it may take.
  func settle(_ connection: Connection) {
    guard !connection.isClosed else { return }
    var interest: UInt32 = 0
    if wantsInput(connection) {
      interest |= UInt32(STOWAGE_READABLE)
    } else if !connection.isAbandoned, !connection.exchanges.isEmpty {
      interest |= UInt32(STOWAGE_ENDED)
    }
    if !connection.output.isEmpty { interest |= UInt32(STOWAGE_WRITABLE) }
    guard interest != connection.interest else { return }
    connection.interest = interest
    stowage_epoll_change(epoll, connection.descriptor, interest, connection.token)
  }

  private func wantsInput(_ connection: Connection) -> Bool {
    if connection.inputEnded { return false }
    if connection.isLingering { return true }
    return !connection.isLast && connection.exchanges.count < Limits.pipelinedRequests
      && connection.output.count < Limits.unsentBytes
  }
}
