import Vocabulary

/// Where a server listens and how long it has patience.
public struct ServerConfiguration: Sendable {
  /// The address to listen on, IPv4 or IPv6.
  public var host: String
  /// The port; 0 for any free one.
  public var port: Int
  /// Threads that serve connections.
  public var loops: Int
  /// Open connections; further ones are answered 503.
  public var connections: Int
  /// Bytes of all large bodies being received; further ones are answered 503.
  public var bodyBytes: Int
  /// From the first byte of a request to the end of its head.
  public var headTimeout: Duration
  /// What a body may take beyond its bytes at the slowest rate.
  public var bodyTimeout: Duration
  /// The slowest rate of a body, in bytes per second.
  public var slowestBodyRate: Int
  /// How long a connection may be silent between requests.
  public var idleTimeout: Duration
  /// How long a client may take no byte of an answer.
  public var writeTimeout: Duration

  /// Where a server listens; patience as most servers have it.
  public init(host: String = "127.0.0.1", port: Int = 8000, loops: Int = 1) {
    self.host = host
    self.port = port
    self.loops = max(loops, 1)
    connections = Limits.connections
    bodyBytes = Limits.bodyBytesTogether
    headTimeout = .seconds(10)
    bodyTimeout = .seconds(30)
    slowestBodyRate = 16 << 10
    idleTimeout = .seconds(75)
    writeTimeout = .seconds(30)
  }
}

/// Why a server cannot listen: a sentence.
public struct ServerError: Error, CustomStringConvertible, Sendable {
  /// The sentence.
  public let description: String
}
