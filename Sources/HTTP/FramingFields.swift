import Vocabulary

/// The header fields that say where a request ends and what becomes of its connection.
struct FramingFields {
  private var length: Int?
  private var isChunked = false
  private var hosts = 0
  private var wantsClose = false
  private var wantsKeepAlive = false
  private(set) var expectsContinue = false

  /// The framing, once all fields were noted and checked.
  var framing: RequestHead.Framing { isChunked ? .chunked : .length(length ?? 0) }

  func keepsAlive(isOld: Bool) -> Bool { !wantsClose && (!isOld || wantsKeepAlive) }

  /// Takes one field into account.
  mutating func note(
    _ field: FieldRange, _ bytes: UnsafeRawBufferPointer
  ) throws(RequestError) {
    switch field.name.count {
    case 4 where bytes.equals("host", in: field.name): try noteHost(field.value, bytes)
    case 6 where bytes.equals("expect", in: field.name): try noteExpectation(field.value, bytes)
    case 10 where bytes.equals("connection", in: field.name): noteConnection(field.value, bytes)
    case 14 where bytes.equals("content-length", in: field.name):
      try noteLength(field.value, bytes)
    case 17 where bytes.equals("transfer-encoding", in: field.name):
      try noteTransferCoding(field.value, bytes)
    default: break
    }
  }

  /// Refuses what would let two readers see different requests.
  func check(isOld: Bool) throws(RequestError) {
    if isChunked, length != nil {
      throw RequestError(
        status: 400, message: "Content-Length and Transfer-Encoding exclude each other.")
    }
    if isChunked, isOld {
      throw RequestError(status: 400, message: "HTTP/1.0 has no Transfer-Encoding.")
    }
    if hosts == 0, !isOld {
      throw RequestError(status: 400, message: "The Host header is missing.")
    }
  }

  private mutating func noteHost(
    _ value: Range<Int>, _ bytes: UnsafeRawBufferPointer
  ) throws(RequestError) {
    hosts += 1
    let isClean = bytes[value].allSatisfy {
      $0 > 32 && $0 < 127 && $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: "@")
        && $0 != UInt8(ascii: ",")
    }
    guard hosts == 1, isClean else {
      throw RequestError(status: 400, message: "The Host header must name one host.")
    }
  }

  private mutating func noteExpectation(
    _ value: Range<Int>, _ bytes: UnsafeRawBufferPointer
  ) throws(RequestError) {
    guard value.count == 12, bytes.starts("100-continue", at: value) else {
      throw RequestError(status: 417, message: "The only expectation known is 100-continue.")
    }
    expectsContinue = true
  }

  private mutating func noteConnection(_ value: Range<Int>, _ bytes: UnsafeRawBufferPointer) {
    var start = value.lowerBound
    while start < value.upperBound {
      let end = bytes[start..<value.upperBound].firstIndex(of: 44) ?? value.upperBound
      var word = start..<end
      while let first = word.first, bytes[first] == 32 { word = (first + 1)..<word.upperBound }
      while let last = word.last, bytes[last] == 32 { word = word.lowerBound..<last }
      if word.count == 5, bytes.starts("close", at: word) { wantsClose = true }
      if word.count == 10, bytes.starts("keep-alive", at: word) { wantsKeepAlive = true }
      start = end + 1
    }
  }

  private mutating func noteLength(
    _ value: Range<Int>, _ bytes: UnsafeRawBufferPointer
  ) throws(RequestError) {
    guard length == nil else {
      throw RequestError(status: 400, message: "Content-Length is given more than once.")
    }
    guard !value.isEmpty, value.count <= 18,
      bytes[value].allSatisfy({ $0 >= 48 && $0 <= 57 })
    else {
      throw RequestError(status: 400, message: "Content-Length must be a decimal number.")
    }
    let number = bytes[value].reduce(0) { $0 * 10 + Int($1) - 48 }
    guard number <= Limits.requestBodyBytes else { throw .bodyTooLarge }
    length = number
  }

  private mutating func noteTransferCoding(
    _ value: Range<Int>, _ bytes: UnsafeRawBufferPointer
  ) throws(RequestError) {
    guard !isChunked else {
      throw RequestError(status: 400, message: "Transfer-Encoding is given more than once.")
    }
    guard value.count == 7, bytes.starts("chunked", at: value) else {
      throw RequestError(status: 501, message: "The only transfer coding known is chunked.")
    }
    isChunked = true
  }
}

extension RequestError {
  /// The body is larger than the server takes.
  static var bodyTooLarge: RequestError {
    RequestError(
      status: 413, message: "The request body is larger than \(Limits.requestBodyBytes) bytes.")
  }
}
