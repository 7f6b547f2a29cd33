/// One HTTP request as a handler sees it.
///
/// The body lies in the connection's buffer: it is valid only until the handler returns.
public struct Request: ~Copyable {
  /// The method, such as `GET`.
  public let method: String
  /// The path before any `?`, percent-encoding untouched.
  public let path: String
  /// What follows the `?`, or nil.
  public let query: String?
  /// The headers in order of arrival; names in lower case.
  public let headers: Headers
  /// The whole body, chunked coding already taken off.
  public let body: UnsafeRawBufferPointer

  /// One HTTP request.
  public init(
    method: String, path: String, query: String?, headers: Headers, body: UnsafeRawBufferPointer
  ) {
    self.method = method
    self.path = path
    self.query = query
    self.headers = headers
    self.body = body
  }
}

/// Header fields in order of arrival.
public struct Headers: Sendable {
  /// The fields; names in lower case.
  public var fields: [(name: String, value: String)]

  /// Header fields in order.
  public init(_ fields: [(name: String, value: String)] = []) { self.fields = fields }

  /// The value of the first field of this name, which must be in lower case.
  public subscript(name: String) -> String? {
    for field in fields where field.name == name { return field.value }
    return nil
  }
}
