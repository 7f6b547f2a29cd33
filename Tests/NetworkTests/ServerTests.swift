import HTTP
import Network
import Testing
import Threads
import Vocabulary

@Suite("Server")
struct ServerTests {
  private let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

  @Test("A connection serves one request after the other")
  func keepAlive() throws {
    try withServer { server, _ in
      let client = TestClient(port: server.port)
      for number in 0..<5 {
        client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n\(number)")
        let answer = try #require(client.answer())
        #expect(answer.status == 200)
        #expect(answer.body == Array("\(number)".utf8))
        #expect(answer.head.contains("\r\nDate: "))
      }
      #expect(server.statistics.connections == 1)
      #expect(server.statistics.handledRequests == 5)
    }
  }

  @Test("Pipelined requests are answered in order, whatever order the answers come in")
  func pipelining() throws {
    try withServer { server, handler in
      let client = TestClient(port: server.port)
      client.send(
        (1...3).map { "GET /later/\($0) HTTP/1.1\r\nHost: a\r\n\r\n" }.joined() + get)
      for number in [3, 1, 2] { handler.release("/later/\(number)") }
      for number in 1...3 {
        #expect(client.answer()?.body == Array("/later/\(number)".utf8))
      }
      #expect(client.answer()?.body.isEmpty == true)
    }
  }

  @Test("More pipelined requests than may wait are read when earlier ones are answered")
  func deepPipeline() throws {
    try withServer { server, handler in
      let client = TestClient(port: server.port)
      let count = Limits.pipelinedRequests * 3
      client.send((0..<count).map { "GET /later/\($0) HTTP/1.1\r\nHost: a\r\n\r\n" }.joined())
      for number in 0..<count {
        handler.release("/later/\(number)")
        #expect(client.answer()?.body == Array("/later/\(number)".utf8))
      }
    }
  }

  @Test("A body arrives whole, however it is cut", arguments: [1, 2, 7, 100])
  func cutBodies(step: Int) throws {
    try withServer { server, _ in
      let client = TestClient(port: server.port)
      let text =
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        + "5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n"
        + "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nend"
      var rest = Array(text.utf8)[...]
      while !rest.isEmpty {
        client.send(Array(rest.prefix(step)))
        rest = rest.dropFirst(step)
      }
      #expect(client.answer()?.body == Array("hello world".utf8))
      #expect(client.answer()?.body == Array("end".utf8))
    }
  }

  @Test("A large body goes in and comes out unchanged")
  func largeBody() throws {
    try withServer { server, _ in
      let client = TestClient(port: server.port)
      let body = (0..<(5 << 20)).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) }
      client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \(body.count)\r\n\r\n")
      client.send(body)
      #expect(client.answer()?.body == body)
    }
  }

  @Test("A client that waits for leave to send its body gets it")
  func expectation() throws {
    try withServer { server, _ in
      let client = TestClient(port: server.port)
      client.send(
        "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
      #expect(client.answer(hasBody: false)?.status == 100)
      client.send("ok")
      #expect(client.answer()?.body == Array("ok".utf8))
    }
  }

  @Test("HEAD is answered without a body, but with its length")
  func head() throws {
    try withServer { server, _ in
      let client = TestClient(port: server.port)
      client.send("HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" + get)
      let answer = try #require(client.answer(hasBody: false))
      #expect(answer.head.contains("Content-Length: 3"))
      #expect(client.answer()?.status == 200)
    }
  }

  @Test("A client that has finished sending still gets its answers")
  func halfClose() throws {
    try withServer { server, handler in
      let client = TestClient(port: server.port)
      client.send("GET /later/1 HTTP/1.1\r\nHost: a\r\n\r\n")
      client.finishSending()
      handler.release("/later/1")
      #expect(client.answer()?.status == 200)
      #expect(client.isAtEnd())
    }
  }

  @Test("An answer with Connection: close ends the connection")
  func closing() throws {
    try withServer { server, _ in
      let client = TestClient(port: server.port)
      client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + get)
      #expect(client.answer()?.head.contains("Connection: close") == true)
      #expect(client.isAtEnd())
    }
  }

  @Test("Draining answers what was asked, closes, and takes no more connections")
  func draining() throws {
    let handler = EchoHandler()
    let server = try Server(configuration: .init(port: 0), handler: handler)
    server.start()
    let (busy, idle) = (TestClient(port: server.port), TestClient(port: server.port))
    idle.send(get)
    #expect(idle.answer() != nil)
    busy.send("GET /later/1 HTTP/1.1\r\nHost: a\r\n\r\n")
    let sink = handler.later.wait { $0.removeValue(forKey: "/later/1") }
    let drained = Lock(false)
    let thread = Thread("drain") {
      server.drain(within: .seconds(20))
      drained.notify { $0 = true }
    }
    #expect(idle.isAtEnd())
    #expect(!drained.withLock { $0 })
    sink.send(Response(status: 200, body: [1]))
    let answer = try #require(busy.answer())
    #expect(answer.head.contains("Connection: close"))
    #expect(busy.isAtEnd())
    thread.join()
    #expect(server.statistics.openConnections == 0)
    server.drain(within: .seconds(20))
  }

  @Test(
    "Whoever computes for a client that goes away is told",
    arguments: [
      "", "Connection: close\r\n", "Connection: close\r\nContent-Length: 2\r\n\r\nab",
    ])
  func disconnect(fields: String) throws {
    try withServer { server, handler in
      var client: TestClient? = TestClient(port: server.port)
      client?.send("GET /later/1 HTTP/1.1\r\nHost: a\r\n\(fields)\r\n")
      let sink = handler.later.wait { $0.removeValue(forKey: "/later/1") }
      client = nil
      #expect(handler.disconnected.wait { $0.isEmpty ? nil : $0 } == ["/later/1"])
      sink.send(Response(status: 200, body: [UInt8](repeating: 1, count: 8 << 20)))
      let next = TestClient(port: server.port)
      next.send(get)
      #expect(next.answer()?.status == 200)
      #expect(handler.disconnected.withLock { $0.count } == 1)
    }
  }

  @Test("A client that goes away is noticed behind more requests than are read")
  func disconnectBehindRequests() throws {
    try withServer { server, handler in
      let count = Limits.pipelinedRequests
      var client: TestClient? = TestClient(port: server.port)
      client?.send((0..<count).map { "GET /later/\($0) HTTP/1.1\r\nHost: a\r\n\r\n" }.joined())
      _ = handler.later.wait { $0.count == count ? true : nil }
      client?.send(get)
      client = nil
      let told = handler.disconnected.wait { $0.count == count ? $0 : nil }
      #expect(told == (0..<count).map { "/later/\($0)" })
    }
  }

  @Test("A client that does not read its answers holds up nobody")
  func slowReader() throws {
    try withServer { server, _ in
      let lazy = TestClient(port: server.port)
      for _ in 0..<4 { lazy.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n") }
      let client = TestClient(port: server.port)
      for _ in 0..<10 {
        client.send(get)
        #expect(client.answer()?.status == 200)
      }
    }
  }

  @Test("Requests behind large answers are read once the client has taken those")
  func largeAnswersBefore() throws {
    try withServer { server, _ in
      let client = TestClient(port: server.port)
      let large = "GET /large HTTP/1.1\r\nHost: a\r\n\r\n"
      client.send(large + large + large + get)
      for _ in 0..<3 { #expect(client.answer()?.body.count == 32 << 20) }
      #expect(client.answer()?.body.isEmpty == true)
    }
  }

  @Test("A client that takes its answers late gets each of them, whole and in order")
  func lateReader() throws {
    try withServer { server, _ in
      let client = TestClient(port: server.port)
      let count = 4000
      // The other thread only sends, this one only receives.
      nonisolated(unsafe) let sending = client
      let sender = Thread("sender") {
        for number in 0..<count {
          let body = [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: 3000)
          sending.send(
            Array("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000\r\n\r\n".utf8) + body)
        }
      }
      for number in 0..<count {
        let expected = [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: 3000)
        guard client.answer()?.body == expected else {
          Issue.record("Answer \(number) is another one.")
          break
        }
      }
      sender.join()
    }
  }

  @Test("A head that drips in does not renew its patience")
  func drippingHead() throws {
    try withServer({ $0.headTimeout = .milliseconds(500) }) { server, _ in
      let client = TestClient(port: server.port)
      client.send("GET / HTTP/1.1\r\nX: ")
      var drops = 0
      while drops < 500, !client.isReadable(within: 20) {
        client.send("x")
        drops += 1
      }
      #expect(drops < 500)
      #expect(client.answer()?.status == 408)
    }
  }

  @Test("Large bodies beyond what all may hold together are refused, small ones are not")
  func bodiesTogether() throws {
    try withServer({ $0.bodyBytes = 1 << 20 }) { server, _ in
      let first = TestClient(port: server.port)
      let body = [UInt8](repeating: 5, count: 900_000)
      let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \(body.count)\r\n"
      first.send(head + "Expect: 100-continue\r\n\r\n")
      #expect(first.answer(hasBody: false)?.status == 100)
      let second = TestClient(port: server.port)
      second.send(head + "\r\n")
      let refusal = try #require(second.answer())
      #expect(refusal.status == 503)
      #expect(refusal.head.contains("Retry-After: "))
      let small = TestClient(port: server.port)
      small.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab")
      #expect(small.answer()?.status == 200)
      first.send(body)
      #expect(first.answer()?.body == body)
      #expect(server.statistics.heldBodyBytes == 0)
    }
  }

  @Test("Heads, bodies and silence that last too long end the connection")
  func patience() throws {
    try withServer({
      $0.headTimeout = .milliseconds(300)
      $0.bodyTimeout = .milliseconds(300)
      $0.idleTimeout = .milliseconds(300)
    }) { server, _ in
      for text in [
        "GET / HT", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nab",
      ] {
        let client = TestClient(port: server.port)
        client.send(text)
        #expect(client.answer()?.status == 408, "\(text)")
        #expect(client.isAtEnd())
      }
      let silent = TestClient(port: server.port)
      silent.send(get)
      #expect(silent.answer()?.status == 200)
      #expect(silent.isAtEnd())
    }
  }

  @Test("More connections than allowed are told so")
  func tooManyConnections() throws {
    try withServer({ $0.connections = 2 }) { server, _ in
      let first = [TestClient(port: server.port), TestClient(port: server.port)]
      for client in first {
        client.send(get)
        #expect(client.answer()?.status == 200)
      }
      // The optimiser would let go of the clients, and so of their connections, after their last
      // use.
      withExtendedLifetime(first) {
        #expect(TestClient(port: server.port).answer()?.status == 503)
      }
    }
  }

  @Test("A port in use and an address that is none are refused with a sentence")
  func addresses() throws {
    try withServer { server, handler in
      #expect {
        _ = try Server(configuration: .init(port: server.port), handler: handler)
      } throws: { "\($0)".contains("\(server.port)") }
      #expect {
        _ = try Server(configuration: .init(host: "nowhere", port: 0), handler: handler)
      } throws: { "\($0)".contains("'nowhere'") }
    }
  }
}
