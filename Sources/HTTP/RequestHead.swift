import Vocabulary

/// A request that cannot be answered as it stands; the connection is closed after the answer.
public struct RequestError: Error, Equatable, Sendable {
  /// The status to answer with.
  public var status: Int
  /// The sentence for the client.
  public var message: String

  /// A request that cannot be answered as it stands.
  public init(status: Int, message: String) {
    self.status = status
    self.message = message
  }
}

/// The head of a request: where its parts lie, and what they say about the body.
///
/// Grammar and framing follow RFC 9110 and RFC 9112, strictly: whatever two readers could
/// understand differently is refused.
public struct RequestHead {
  /// How the body is delimited.
  public enum Framing: Equatable, Sendable {
    /// So many bytes.
    case length(Int)
    /// Chunks with their own lengths.
    case chunked
  }

  /// The bytes of the head, its empty line included.
  public private(set) var byteCount = 0
  /// How the body is delimited.
  public private(set) var framing = Framing.length(0)
  /// Whether the connection may serve another request.
  public private(set) var keepsAlive = true
  /// Whether the client waits for `100 Continue` before it sends the body.
  public private(set) var expectsContinue = false
  /// Whether the method is HEAD, whose answer has no body.
  public private(set) var isHead = false

  var method = 0..<0
  var target = 0..<0
  var fields: [FieldRange] = []
  private var isOld = false
  /// Bytes that were searched for the end in vain: a head that drips in is not read over and over.
  private var searched = 0

  /// An empty head; reused from request to request so that parsing allocates nothing.
  public init() { fields.reserveCapacity(16) }

  /// Reads a head from the front of `bytes`, whose header names it makes lower case.
  ///
  /// - Returns: Whether the head was complete; if not, call again with more bytes.
  /// - Throws: `RequestError`, when the head is malformed or too large.
  public mutating func parse(_ bytes: UnsafeMutableRawBufferPointer) throws(RequestError) -> Bool {
    let start = try Self.skipEmptyLines(bytes)
    guard let end = try findEnd(bytes, from: start) else { return false }
    fields.removeAll(keepingCapacity: true)
    (framing, keepsAlive, expectsContinue) = (.length(0), true, false)
    byteCount = end
    var reader = LineReader(bytes: bytes, position: start, end: end)
    try parseRequestLine(reader.next(), bytes)
    var framingFields = FramingFields()
    while true {
      let line = try reader.next()
      if line.isEmpty { break }
      try parseField(line, bytes, &framingFields)
    }
    try framingFields.check(isOld: isOld)
    framing = framingFields.framing
    expectsContinue = framingFields.expectsContinue && !isOld
    keepsAlive = framingFields.keepsAlive(isOld: isOld)
    return true
  }

  /// The request as a handler sees it.
  public func request(
    _ head: UnsafeRawBufferPointer, body: UnsafeRawBufferPointer
  ) -> Request {
    func text(_ range: Range<Int>) -> String {
      String(decoding: UnsafeRawBufferPointer(rebasing: head[range]), as: UTF8.self)
    }
    let path = pathRange(head)
    let mark = head[path].firstIndex(of: UInt8(ascii: "?"))
    return Request(
      method: text(method), path: text(path.lowerBound..<(mark ?? path.upperBound)),
      query: mark.map { text(($0 + 1)..<path.upperBound) },
      headers: Headers(view: head, fields: fields), body: body)
  }

  /// The target without scheme and authority, which an absolute form has in front.
  private func pathRange(_ head: UnsafeRawBufferPointer) -> Range<Int> {
    guard head[target.lowerBound] != UInt8(ascii: "/") else { return target }
    var slashes = 0
    for place in target where head[place] == UInt8(ascii: "/") {
      slashes += 1
      if slashes == 3 { return place..<target.upperBound }
    }
    return target
  }

  // MARK: Lines

  /// Skips one CRLF before the request line, which some clients send after a body.
  private static func skipEmptyLines(
    _ bytes: UnsafeMutableRawBufferPointer
  ) throws(RequestError) -> Int {
    bytes.count >= 2 && bytes[0] == 13 && bytes[1] == 10 ? 2 : 0
  }

  /// The position behind the empty line, or nil while it has not come.
  private mutating func findEnd(
    _ bytes: UnsafeMutableRawBufferPointer, from start: Int
  ) throws(RequestError) -> Int? {
    let limit = min(bytes.count, Limits.requestHeadBytes)
    var place = max(start, searched)
    while place < limit {
      guard let feed = bytes[place..<limit].firstIndex(of: 10) else {
        place = limit
        break
      }
      guard feed + 2 < limit else {
        // Whether this line is the last one cannot be told yet.
        place = feed
        break
      }
      if bytes[feed + 1] == 13, bytes[feed + 2] == 10 {
        searched = 0
        return feed + 3
      }
      place = feed + 1
    }
    searched = place
    guard bytes.count < Limits.requestHeadBytes else {
      throw bytes[start..<limit].contains(10)
        ? RequestError(
          status: 431,
          message: "The request's headers are larger than \(Limits.requestHeadBytes) bytes.")
        : RequestError(status: 414, message: "The request line is longer than allowed.")
    }
    return nil
  }

  private mutating func parseRequestLine(
    _ line: Range<Int>, _ bytes: UnsafeMutableRawBufferPointer
  ) throws(RequestError) {
    let malformed = RequestError(status: 400, message: "The request line is malformed.")
    guard let first = bytes[line].firstIndex(of: 32), let last = bytes[line].lastIndex(of: 32),
      first < last
    else { throw malformed }
    method = line.lowerBound..<first
    target = (first + 1)..<last
    let raw = UnsafeRawBufferPointer(bytes)
    guard !method.isEmpty, bytes[method].allSatisfy(Characters.isToken), !target.isEmpty,
      bytes[target].allSatisfy({ $0 > 32 && $0 < 127 && $0 != UInt8(ascii: "#") })
    else { throw malformed }
    let version = (last + 1)..<line.upperBound
    if raw.equals("HTTP/1.1", in: version) {
      isOld = false
    } else if raw.equals("HTTP/1.0", in: version) {
      isOld = true
    } else if version.count == 8, raw.equals("HTTP/", in: version.lowerBound..<last + 6) {
      throw RequestError(status: 505, message: "Only HTTP/1.1 and HTTP/1.0 are spoken here.")
    } else {
      throw malformed
    }
    isHead = raw.equals("HEAD", in: method)
    let isAbsolute = raw.starts("http://", at: target) || raw.starts("https://", at: target)
    let isAsterisk = raw.equals("*", in: target) && raw.equals("OPTIONS", in: method)
    guard bytes[target.lowerBound] == UInt8(ascii: "/") || isAbsolute || isAsterisk else {
      throw RequestError(status: 400, message: "The request target must be a path.")
    }
  }

  private mutating func parseField(
    _ line: Range<Int>, _ bytes: UnsafeMutableRawBufferPointer, _ framing: inout FramingFields
  ) throws(RequestError) {
    let malformed = RequestError(status: 400, message: "A header field is malformed.")
    guard fields.count < Limits.headerCount else {
      throw RequestError(
        status: 431, message: "The request has more than \(Limits.headerCount) header fields.")
    }
    guard let colon = bytes[line].firstIndex(of: UInt8(ascii: ":")), colon > line.lowerBound,
      bytes[line.lowerBound..<colon].allSatisfy(Characters.isToken)
    else { throw malformed }
    for place in line.lowerBound..<colon where bytes[place] >= 65 && bytes[place] <= 90 {
      bytes[place] |= 32
    }
    var value = (colon + 1)..<line.upperBound
    while let first = value.first, bytes[first] == 32 || bytes[first] == 9 {
      value = (first + 1)..<value.upperBound
    }
    while let last = value.last, bytes[last] == 32 || bytes[last] == 9 {
      value = value.lowerBound..<last
    }
    guard bytes[value].allSatisfy({ $0 == 9 || ($0 >= 32 && $0 != 127) }) else { throw malformed }
    let field = FieldRange(name: line.lowerBound..<colon, value: value)
    try framing.note(field, UnsafeRawBufferPointer(bytes))
    fields.append(field)
  }
}

/// Takes lines off a head, each ended by CR LF and nothing else.
private struct LineReader {
  let bytes: UnsafeMutableRawBufferPointer
  var position: Int
  let end: Int

  mutating func next() throws(RequestError) -> Range<Int> {
    guard let feed = bytes[position..<end].firstIndex(of: 10), feed > position,
      bytes[feed - 1] == 13
    else { throw RequestError(status: 400, message: "A line does not end with CR LF.") }
    let line = position..<(feed - 1)
    guard !bytes[line].contains(13) else {
      throw RequestError(status: 400, message: "A CR stands in the middle of a line.")
    }
    position = feed + 1
    return line
  }
}

extension UnsafeRawBufferPointer {
  /// Whether a range begins with a text, letters' case aside.
  func starts(_ text: String, at range: Range<Int>) -> Bool {
    guard range.count >= text.utf8.count else { return false }
    var place = range.lowerBound
    for byte in text.utf8 {
      let own = self[place]
      guard (own >= 65 && own <= 90 ? own | 32 : own) == byte else { return false }
      place += 1
    }
    return true
  }
}

/// Which bytes may stand where.
enum Characters {
  /// A character of a token: methods and header names consist of them.
  static func isToken(_ byte: UInt8) -> Bool {
    switch byte {
    case 48...57, 65...90, 97...122: true
    case UInt8(ascii: "!"), UInt8(ascii: "#"), UInt8(ascii: "$"), UInt8(ascii: "%"),
      UInt8(ascii: "&"), UInt8(ascii: "'"), UInt8(ascii: "*"), UInt8(ascii: "+"),
      UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "^"), UInt8(ascii: "_"),
      UInt8(ascii: "`"), UInt8(ascii: "|"), UInt8(ascii: "~"):
      true
    default: false
    }
  }

  /// The value of a hexadecimal digit.
  static func hexadecimal(_ byte: UInt8) -> Int? {
    switch byte {
    case 48...57: Int(byte) - 48
    case 65...70: Int(byte) - 55
    case 97...102: Int(byte) - 87
    default: nil
    }
  }
}
