/// One HTTP response; `Content-Length` and connection handling are added when it is written.
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
}

/// Where the answer to one request goes.
public protocol ResponseSink: AnyObject, Sendable {
  /// Sends the answer. To be called exactly once, from any thread, during the handler or later.
  func send(_ response: Response)
}

/// Answers requests.
public protocol RequestHandler: Sendable {
  /// Takes one request and sees to it that `sink` gets exactly one answer, now or later.
  ///
  /// Called on a loop thread, which it must not block.
  func handle(_ request: borrowing Request, sink: any ResponseSink)
}
