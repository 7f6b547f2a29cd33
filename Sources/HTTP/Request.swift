/// One HTTP request as a handler sees it.
///
/// Everything lies in the connection's buffer: it is valid only until the handler returns. What is
/// kept for longer is copied by the handler.
public struct Request: ~Copyable {
  /// The method, such as `GET`.
  public let method: String
  /// The path before any `?`, percent-encoding untouched.
  public let path: String
  /// What follows the `?`, or nil.
  public let query: String?
  /// The headers.
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

/// Header fields in order of arrival; names in lower case.
///
/// Those of a connection are only looked at where they lie: no string is made for a field that
/// nobody asks for.
public struct Headers: @unchecked Sendable {
  // Unchecked: the bytes behind a view are not changed while the handler that got it runs.

  private enum Storage {
    case list([(name: String, value: String)])
    case view(UnsafeRawBufferPointer, [FieldRange])
  }

  private let storage: Storage

  /// Header fields in order; names in lower case.
  public init(_ fields: [(name: String, value: String)] = []) { storage = .list(fields) }

  /// Header fields as they lie in a head, names made lower case in place.
  init(view bytes: UnsafeRawBufferPointer, fields: [FieldRange]) { storage = .view(bytes, fields) }

  /// The value of the first field of this name, which must be in lower case.
  public subscript(name: String) -> String? {
    switch storage {
    case .list(let fields): return fields.first { $0.name == name }?.value
    case .view(let bytes, let fields):
      for field in fields where bytes.equals(name, in: field.name) {
        return String(decoding: UnsafeRawBufferPointer(rebasing: bytes[field.value]), as: UTF8.self)
      }
      return nil
    }
  }
}

/// Where a header field lies in a head.
struct FieldRange {
  var name: Range<Int>
  var value: Range<Int>
}

extension UnsafeRawBufferPointer {
  /// Whether the bytes of a range are those of a text.
  func equals(_ text: String, in range: Range<Int>) -> Bool {
    guard text.utf8.count == range.count else { return false }
    var place = range.lowerBound
    for byte in text.utf8 {
      guard self[place] == byte else { return false }
      place += 1
    }
    return true
  }
}
