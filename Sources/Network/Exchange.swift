import HTTP

/// One request on its way to its only answer.
final class Exchange: ResponseSink, @unchecked Sendable {
  // Unchecked: all but `send` happens on the loop's thread, and `send` hands over to it.

  private let loop: Loop
  let connection: Connection
  /// The answer, while earlier ones of the connection have not been written.
  var response: Response?
  /// Whether the request forbids a body in the answer.
  var isHead = false
  /// Whether the connection ends with this answer.
  var closes = false
  var disconnectAction: (@Sendable () -> Void)?

  init(loop: Loop, connection: Connection) {
    self.loop = loop
    self.connection = connection
  }

  func send(_ response: Response) { loop.deliver(response, to: self) }

  func onDisconnect(_ action: @escaping @Sendable () -> Void) { disconnectAction = action }

  /// Tells whoever computes the answer that nobody waits for it.
  func giveUp() {
    let action = disconnectAction
    disconnectAction = nil
    action?()
  }

  /// Makes the object fit for the next request.
  func reset() {
    response = nil
    disconnectAction = nil
  }
}
