/// Writes the heads of responses.
public enum ResponseHead {
  /// Appends a response's status line and headers, `Content-Length` and the empty line included.
  ///
  /// - Parameters:
  ///   - date: The value of the `Date` header, 29 bytes.
  ///   - closes: Whether the connection is closed afterwards.
  public static func write(
    _ response: Response, date: [UInt8], closes: Bool, into bytes: inout [UInt8]
  ) {
    append("HTTP/1.1 ", &bytes)
    append(response.status, &bytes)
    bytes.append(32)
    append(reason(response.status), &bytes)
    append("\r\nDate: ", &bytes)
    bytes.append(contentsOf: date)
    for (name, value) in response.headers {
      append("\r\n", &bytes)
      append(name, &bytes)
      append(": ", &bytes)
      append(value, &bytes)
    }
    append("\r\nContent-Length: ", &bytes)
    append(response.body.count, &bytes)
    if closes { append("\r\nConnection: close", &bytes) }
    append("\r\n\r\n", &bytes)
  }

  /// What tells a waiting client to send its body.
  public static let goOn = Array("HTTP/1.1 100 Continue\r\n\r\n".utf8)

  private static func append(_ text: String, _ bytes: inout [UInt8]) {
    bytes.append(contentsOf: text.utf8)
  }

  private static func append(_ number: Int, _ bytes: inout [UInt8]) {
    if number >= 10 { append(number / 10, &bytes) }
    bytes.append(48 + UInt8(number % 10))
  }

  /// The phrase behind a status code.
  static func reason(_ status: Int) -> String {
    switch status {
    case 200: "OK"
    case 400: "Bad Request"
    case 401: "Unauthorized"
    case 403: "Forbidden"
    case 404: "Not Found"
    case 405: "Method Not Allowed"
    case 408: "Request Timeout"
    case 413: "Content Too Large"
    case 414: "URI Too Long"
    case 415: "Unsupported Media Type"
    case 417: "Expectation Failed"
    case 422: "Unprocessable Content"
    case 429: "Too Many Requests"
    case 431: "Request Header Fields Too Large"
    case 499: "Client Closed Request"
    case 500: "Internal Server Error"
    case 501: "Not Implemented"
    case 503: "Service Unavailable"
    case 504: "Gateway Timeout"
    case 505: "HTTP Version Not Supported"
    case 507: "Insufficient Storage"
    default: "Status"
    }
  }
}
