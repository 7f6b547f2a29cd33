/// One HTTP response; `Content-Length`, `Date` and connection handling are added when written.
public struct Response: Sendable {
  /// The status code.
  public var status: Int
  /// The headers.
  public var headers: [(name: String, value: String)]
  /// The body.
  public var body: [UInt8]

  /// One HTTP response.
  public init(status: Int, headers: [(name: String, value: String)] = [], body: [UInt8] = []) {
    self.status = status
    self.headers = headers
    self.body = body
  }

  /// An error with its sentence, as clients of the Open Inference Protocol expect it.
  ///
  /// The message must hold no character that JSON escapes: it is one of our own sentences.
  public static func error(_ status: Int, _ message: String) -> Response {
    Response(
      status: status, headers: [("Content-Type", "application/json")],
      body: Array("{\"error\":\"\(message)\"}".utf8))
  }
}

/// Where the answer to one request goes.
public protocol ResponseSink: AnyObject, Sendable {
  /// Sends the answer. To be called exactly once, from any thread, during the handler or later.
  func send(_ response: Response)

  /// Sets what to call when the client goes away before the answer was sent.
  ///
  /// A client that ends its side of the connection counts as gone, for that is all that is seen of
  /// one whose process ended; should it still listen, it gets what is sent nevertheless.
  /// To be called during the handler; the closure runs on the connection's loop thread.
  func onDisconnect(_ action: @escaping @Sendable () -> Void)
}

extension ResponseSink {
  /// Sinks without a connection never lose their client.
  public func onDisconnect(_ action: @escaping @Sendable () -> Void) {}
}

/// Answers requests.
public protocol RequestHandler: Sendable {
  /// Takes one request and sees to it that `sink` gets exactly one answer, now or later.
  ///
  /// Called on a loop thread, which it must not block.
  func handle(_ request: borrowing Request, sink: any ResponseSink)
}
