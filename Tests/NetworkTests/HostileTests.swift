import Network
import Testing
import Vocabulary

/// Bytes that no decent client sends, and what they are answered with; 0 stands for no answer at
/// all.
struct HostileCase: Sendable, CustomTestStringConvertible {
  let name: String
  let text: String
  let status: Int

  init(_ name: String, _ text: String, _ status: Int) {
    (self.name, self.text, self.status) = (name, text, status)
  }

  var testDescription: String { name }
}

private let host = "Host: a\r\n"
private let post = "POST / HTTP/1.1\r\nHost: a\r\n"
private let chunked = post + "Transfer-Encoding: chunked\r\n\r\n"

private let requestLines: [HostileCase] = [
  .init("only line ends", "\r\n\r\n\r\n\r\n", 400),
  .init("binary noise", "\u{1}\u{2}\u{3}\r\n\r\n", 400),
  .init("a TLS hello", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\r\n\r\n", 400),
  .init("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
  .init("HTTP/0.9", "GET /\r\n\r\n", 400),
  .init("no target", "GET HTTP/1.1\r\n\(host)\r\n", 400),
  .init("two spaces", "GET  / HTTP/1.1\r\n\(host)\r\n", 400),
  .init("tab between", "GET\t/\tHTTP/1.1\r\n\(host)\r\n", 400),
  .init("space in target", "GET /a b HTTP/1.1\r\n\(host)\r\n", 400),
  .init("relative target", "GET a HTTP/1.1\r\n\(host)\r\n", 400),
  .init("asterisk with GET", "GET * HTTP/1.1\r\n\(host)\r\n", 400),
  .init("fragment", "GET /#a HTTP/1.1\r\n\(host)\r\n", 400),
  .init("bare LF", "GET / HTTP/1.1\n\(host)\r\n\r\n", 400),
  .init("lower-case version", "GET / http/1.1\r\n\(host)\r\n", 400),
  .init("version 1.2", "GET / HTTP/1.2\r\n\(host)\r\n", 505),
  .init("version without number", "GET / HTTP/\r\n\(host)\r\n", 400),
  .init("method with brackets", "G<>T / HTTP/1.1\r\n\(host)\r\n", 400),
  .init("empty method", " / HTTP/1.1\r\n\(host)\r\n", 400),
  .init("NUL in target", "GET /\0 HTTP/1.1\r\n\(host)\r\n", 400),
  .init("non-ASCII target", "GET /ü HTTP/1.1\r\n\(host)\r\n", 400),
  .init("endless target", "GET /" + String(repeating: "a", count: 40_000), 414),
]

private let headers: [HostileCase] = [
  .init("no Host", "GET / HTTP/1.1\r\n\r\n", 400),
  .init("two Hosts", "GET / HTTP/1.1\r\n\(host)\(host)\r\n", 400),
  .init("empty Host is one host", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
  .init("Host with user", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400),
  .init("folded header", "GET / HTTP/1.1\r\n\(host)X: a\r\n b\r\n\r\n", 400),
  .init("folded first header", "GET / HTTP/1.1\r\n X: a\r\n\(host)\r\n", 400),
  .init("space before colon", "GET / HTTP/1.1\r\n\(host)X : a\r\n\r\n", 400),
  .init("no colon", "GET / HTTP/1.1\r\n\(host)X\r\n\r\n", 400),
  .init("no name", "GET / HTTP/1.1\r\n\(host): a\r\n\r\n", 400),
  .init("NUL in value", "GET / HTTP/1.1\r\n\(host)X: \0\r\n\r\n", 400),
  .init("CR in value", "GET / HTTP/1.1\r\n\(host)X: a\rb\r\n\r\n", 400),
  .init("LF alone after value", "GET / HTTP/1.1\r\n\(host)X: a\nY: b\r\n\r\n", 400),
  .init("DEL in value", "GET / HTTP/1.1\r\n\(host)X: \u{7F}\r\n\r\n", 400),
  .init("unicode name", "GET / HTTP/1.1\r\n\(host)Ä: a\r\n\r\n", 400),
  .init(
    "too many headers",
    "GET / HTTP/1.1\r\n\(host)" + String(repeating: "X: a\r\n", count: 200) + "\r\n", 431),
  .init(
    "a header too large",
    "GET / HTTP/1.1\r\n\(host)X: " + String(repeating: "a", count: 40_000), 431),
  .init("unknown expectation", post + "Expect: tea\r\nContent-Length: 1\r\n\r\na", 417),
]

private let lengths: [HostileCase] = [
  .init("two lengths", post + "Content-Length: 1\r\nContent-Length: 2\r\n\r\na", 400),
  .init("the same length twice", post + "Content-Length: 1\r\nContent-Length: 1\r\n\r\na", 400),
  .init("a list of lengths", post + "Content-Length: 1, 1\r\n\r\na", 400),
  .init("negative length", post + "Content-Length: -1\r\n\r\n", 400),
  .init("signed length", post + "Content-Length: +1\r\n\r\na", 400),
  .init("hexadecimal length", post + "Content-Length: 0x1\r\n\r\na", 400),
  .init("length with underscore", post + "Content-Length: 1_0\r\n\r\na", 400),
  .init("length with fraction", post + "Content-Length: 1.0\r\n\r\na", 400),
  .init("empty length", post + "Content-Length: \r\n\r\n", 400),
  .init("length beyond 64 bits", post + "Content-Length: 18446744073709551617\r\n\r\n", 400),
  .init("length beyond the limit", post + "Content-Length: 1000000000\r\n\r\n", 413),
  .init(
    "length and chunks", post + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    400),
  .init(
    "chunks and length", post + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    400),
  .init("gzip coding", post + "Transfer-Encoding: gzip\r\n\r\n", 501),
  .init("chunked twice", post + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 501),
  .init("identity coding", post + "Transfer-Encoding: identity\r\n\r\n", 501),
  .init("chunked with junk", post + "Transfer-Encoding: chunkedfoo\r\n\r\n", 501),
  .init("old version with chunks", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
]

private let chunks: [HostileCase] = [
  .init("no size", chunked + "\r\n", 400),
  .init("size is a word", chunked + "hello\r\n", 400),
  .init("size with prefix", chunked + "0x5\r\nhello\r\n0\r\n\r\n", 400),
  .init("signed size", chunked + "+5\r\nhello\r\n0\r\n\r\n", 400),
  .init("negative size", chunked + "-5\r\nhello\r\n", 400),
  .init("size beyond 64 bits", chunked + "10000000000000000\r\n", 400),
  .init("size beyond the limit", chunked + "FFFFFFF\r\n", 413),
  .init("space before size", chunked + " 5\r\nhello\r\n0\r\n\r\n", 400),
  .init("LF after size", chunked + "5\nhello\r\n0\r\n\r\n", 400),
  .init("data longer than size", chunked + "2\r\nhello\r\n0\r\n\r\n", 400),
  .init("no line end after data", chunked + "5\r\nhelloX0\r\n\r\n", 400),
  .init("endless extension", chunked + "5;" + String(repeating: "a", count: 5000), 400),
  .init("NUL in extension", chunked + "5;\0\r\nhello\r\n", 400),
  .init(
    "endless trailers",
    chunked + "0\r\n"
      + String(repeating: "X: " + String(repeating: "a", count: 90) + "\r\n", count: 400),
    431),
]

@Suite("Hostile bytes")
struct HostileTests {
  @Test(
    "Each is refused with its status, and the server goes on",
    arguments: requestLines + headers + lengths + chunks)
  func refused(_ hostile: HostileCase) throws {
    try withServer { server, _ in
      let client = TestClient(port: server.port)
      client.send(hostile.text)
      let answer = try #require(client.answer())
      #expect(answer.status == hostile.status)
      #expect(answer.head.contains("Content-Type: application/json"))
      #expect(String(decoding: answer.body, as: UTF8.self).hasPrefix("{\"error\":"))
      #expect(client.isAtEnd(), "The connection stays open after what cannot be read.")
      let next = TestClient(port: server.port)
      next.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
      #expect(next.answer()?.status == 200)
    }
  }

  @Test("Seventy cases are tried")
  func count() { #expect((requestLines + headers + lengths + chunks).count >= 70) }

  @Test("Seeded random bytes never stop the server", arguments: 0..<20)
  func noise(seed: Int) throws {
    try withServer { server, _ in
      var state = UInt64(seed) &* 2 &+ 1
      let client = TestClient(port: server.port)
      let start = Array("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".utf8)
      let noise = (0..<2000).map { _ -> UInt8 in
        state = state &* 0xDA94_2042_E4DD_58B5
        return UInt8(truncatingIfNeeded: state >> 56)
      }
      client.send(seed % 2 == 0 ? noise : start + noise)
      client.finishSending()
      _ = client.answer()
      let next = TestClient(port: server.port)
      next.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
      #expect(next.answer()?.status == 200, "seed \(seed)")
    }
  }
}
