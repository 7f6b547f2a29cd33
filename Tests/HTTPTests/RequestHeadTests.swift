import Testing
import Vocabulary

@testable import HTTP

/// Parses bytes as a head.
private func parse(_ text: String) throws -> (head: RequestHead, bytes: [UInt8])? {
  var bytes = Array(text.utf8)
  var head = RequestHead()
  let complete = try bytes.withUnsafeMutableBytes { buffer in
    try head.parse(buffer)
  }
  return complete ? (head, bytes) : nil
}

/// The status that a malformed head is answered with.
private func status(_ text: String) -> Int? {
  do {
    _ = try parse(text)
    return nil
  } catch {
    return (error as? RequestError)?.status
  }
}

@Suite("Request heads")
struct RequestHeadTests {
  @Test("A head gives its method, path, query, headers and framing")
  func parts() throws {
    let (head, bytes) = try #require(
      try parse(
        "POST /v2/models/m/infer?x=1 HTTP/1.1\r\nHost: a\r\nX-Name:  some value \r\n"
          + "Content-Length: 12\r\nConnection: keep-alive, Close\r\n\r\nrest"))
    bytes.withUnsafeBytes { buffer in
      let request = head.request(buffer, body: UnsafeRawBufferPointer(rebasing: buffer[..<0]))
      #expect(request.method == "POST")
      #expect(request.path == "/v2/models/m/infer")
      #expect(request.query == "x=1")
      #expect(request.headers["x-name"] == "some value")
      #expect(request.headers["missing"] == nil)
    }
    #expect(head.framing == .length(12))
    #expect(!head.keepsAlive)
    #expect(head.byteCount == bytes.count - 4)
  }

  @Test("An absolute target is read by its path, HTTP/1.0 closes unless asked to stay")
  func forms() throws {
    let (head, bytes) = try #require(try parse("GET http://h:1/v2?q HTTP/1.0\r\n\r\n"))
    bytes.withUnsafeBytes { buffer in
      let request = head.request(buffer, body: UnsafeRawBufferPointer(rebasing: buffer[..<0]))
      #expect(request.path == "/v2")
      #expect(request.query == "q")
    }
    #expect(!head.keepsAlive)
    let stays = try #require(try parse("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"))
    #expect(stays.head.keepsAlive)
  }

  @Test("Every prefix of a head is incomplete, not wrong")
  func prefixes() throws {
    let text = "\r\nPOST /v2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    for length in 0..<text.utf8.count {
      let prefix = String(decoding: Array(text.utf8)[..<length], as: UTF8.self)
      #expect(try parse(prefix) == nil, "\(length) bytes")
    }
    #expect(try parse(text)?.head.framing == .chunked)
  }

  @Test("A head that arrives byte by byte is read as one that arrives whole", arguments: 1...9)
  func drip(step: Int) throws {
    let text =
      "\r\nPOST /v2?a HTTP/1.1\r\nHost: a\r\nX-Empty:\r\nContent-Length: 3\r\n\r\nabcGET"
    let whole = try #require(try parse(text)).head
    var bytes = Array(text.utf8)
    var head = RequestHead()
    for _ in 0..<2 {
      var (end, isComplete) = (0, false)
      while !isComplete {
        end += step
        isComplete = try bytes.withUnsafeMutableBytes {
          try head.parse(UnsafeMutableRawBufferPointer(rebasing: $0[..<min(end, $0.count)]))
        }
        try #require(isComplete || end < bytes.count)
      }
      #expect(end >= whole.byteCount && end < whole.byteCount + step)
      #expect(head.byteCount == whole.byteCount)
      #expect(head.framing == whole.framing)
      #expect(head.target == whole.target)
      #expect(head.fields.map(\.value) == whole.fields.map(\.value))
    }
  }

  @Test(
    "What two readers could understand differently is refused",
    arguments: [
      ("GET /\r\nHost: a\r\n\r\n", 400), ("GET  HTTP/1.1\r\nHost: a\r\n\r\n", 400),
      ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505), ("GET / http/1.1\r\nHost: a\r\n\r\n", 400),
      ("G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400), ("GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
      ("GET /\u{7F} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
      ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400), ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
      ("GET /#f HTTP/1.1\r\nHost: a\r\n\r\n", 400), ("GET / HTTP/1.1\r\n\r\n", 400),
      ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
      ("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", 400),
      ("GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400),
      ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400), ("GET / HTTP/1.1\r\n: a\r\n\r\n", 400),
      ("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400),
      ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
      ("GET / HTTP/1.1\r\nHost: a\r\nNoColon\r\n\r\n", 400),
      ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
      ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", 400),
      ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", 400),
      ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
      ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n", 400),
      ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400),
      ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
      ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999999\r\n\r\n", 413),
      (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        400
      ),
      ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
      ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 501),
      ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked \u{0B}\r\n\r\n", 400),
      (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
          + "Transfer-Encoding: chunked\r\n\r\n", 400
      ),
      ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
      ("POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n", 417),
    ])
  func refusals(text: String, expected: Int) { #expect(status(text) == expected) }

  @Test("Heads, lines and numbers of headers have limits")
  func limits() {
    let long = String(repeating: "a", count: Limits.requestHeadBytes)
    #expect(status("GET /\(long)") == 414)
    #expect(status("GET / HTTP/1.1\r\nHost: a\r\nX: \(long)") == 431)
    let many = String(repeating: "X: 1\r\n", count: Limits.headerCount + 1)
    #expect(status("GET / HTTP/1.1\r\nHost: a\r\n\(many)\r\n") == 431)
  }
}

@Suite("Chunked bodies")
struct ChunkedDecoderTests {
  private func decode(_ text: String, step: Int) throws -> (String, Int)? {
    var bytes = Array(text.utf8)
    var decoder = ChunkedDecoder()
    var end = 0
    while end < bytes.count {
      end = min(end + step, bytes.count)
      let complete = try bytes.withUnsafeMutableBytes { buffer in
        try decoder.decode(UnsafeMutableRawBufferPointer(rebasing: buffer[..<end]))
      }
      if complete {
        return (String(decoding: bytes[..<decoder.count], as: UTF8.self), decoder.consumed)
      }
    }
    return nil
  }

  @Test("Chunks come out whole however they arrive", arguments: 1...40)
  func arrival(step: Int) throws {
    let text =
      "4\r\nWiki\r\n6;name=\"v\"\r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n0\r\nT: x\r\n\r\nGET"
    let (body, consumed) = try #require(try decode(text, step: step))
    #expect(body == "Wikipedia in \r\n\r\nchunks.")
    #expect(consumed == text.utf8.count - 3)
  }

  @Test(
    "A malformed coding is refused",
    arguments: [
      "x\r\n", "0x4\r\nWiki\r\n", "+4\r\nWiki\r\n", "-4\r\nWiki\r\n", " 4\r\nWiki\r\n",
      "4 \r\nWiki\r\n", "4\nWiki\r\n", "4\r\nWikiX\r\n", "4\r\nWiki\n", "\r\n", ";a\r\n", "4_0\r\n",
      "FFFFFFFFFFFFFFFFF\r\n", "4\r;\r\nWiki\r\n",
    ])
  func refusals(text: String) {
    #expect(throws: RequestError.self) { try decode(text, step: 1000) }
  }

  @Test("Extensions cannot make a small body fill the memory")
  func overhead() {
    let chunk = "1;" + String(repeating: "x", count: 4000) + "\r\na\r\n"
    let text = String(repeating: chunk, count: Limits.chunkOverheadBytes / 4000 + 1)
    #expect {
      try decode(text, step: 1 << 20)
    } throws: { ($0 as? RequestError)?.status == 413 }
  }

  @Test("More than the largest body is refused before it comes")
  func tooLarge() {
    #expect {
      try decode("FFFFFFFF\r\n", step: 100)
    } throws: { ($0 as? RequestError)?.status == 413 }
  }
}
