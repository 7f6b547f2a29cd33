import API
import CLinux
import Glibc
import Metrics
import Network
import Threads

/// Waits for the signals that end a server or have it read its settings again.
///
/// They are blocked for all threads that are started later, so that only `wait` sees them.
struct SignalWaiter {
  private var signals = sigset_t()

  init() {
    sigemptyset(&signals)
    sigaddset(&signals, SIGTERM)
    sigaddset(&signals, SIGINT)
    sigaddset(&signals, SIGHUP)
    pthread_sigmask(SIG_BLOCK, &signals, nil)
    signal(SIGPIPE, SIG_IGN)
  }

  /// The next signal.
  func wait() -> Int32 {
    var (set, number) = (signals, Int32(0))
    while sigwait(&set, &number) != 0 {}
    return number
  }
}

/// How long threads of OpenMP look out for more work before they sleep.
enum SpinLimit {
  /// Rounds of looking out: about 0.2 ms, which is longer than the gap between two layers.
  ///
  /// Left to itself libgomp spins for about 5 ms after a batch, on a core that the sockets need for
  /// the next one: clients that ask again were back 7.5 ms after their answers instead of 2.2 (95th
  /// percentile, 2 cores). Not to spin at all makes small networks up to 2.8 times as slow.
  private static let rounds = "10000"

  /// Starts the program anew with the limit, unless the environment says something of its own:
  /// libgomp reads it once, before `main`.
  static func apply() {
    guard getenv("GOMP_SPINCOUNT") == nil, getenv("OMP_WAIT_POLICY") == nil,
      setenv("GOMP_SPINCOUNT", rounds, 1) == 0
    else { return }
    var path = [CChar](repeating: 0, count: Int(PATH_MAX))
    guard readlink("/proc/self/exe", &path, path.count - 1) > 0 else { return }
    // Where this is forbidden the server runs all the same.
    execv(path, CommandLine.unsafeArgv)
  }
}

/// What the process may use.
enum Processors {
  /// Cores that this process may run on.
  static var available: Int { max(1, Int(stowage_available_processors())) }
}

/// Lines for other programs.
enum StandardOutput {
  /// Writes a whole line at once, so that threads do not mix theirs.
  static func write(_ line: String) {
    let bytes = Array(line.utf8)
    _ = Glibc.write(STDOUT_FILENO, bytes, bytes.count)
  }
}

/// Writes the request log.
enum RequestLogger {
  /// One line of JSON with the time in front.
  @Sendable static func write(_ log: RequestLog) {
    var (now, parts) = (timespec(), tm())
    clock_gettime(CLOCK_REALTIME, &now)
    gmtime_r(&now.tv_sec, &parts)
    var text = [CChar](repeating: 0, count: 32)
    let length = strftime(&text, text.count, "%Y-%m-%dT%H:%M:%S", &parts)
    let seconds = String(decoding: text[..<length].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let milliseconds = 1000 + now.tv_nsec / 1_000_000
    StandardOutput.write(
      "{\"time\":\"\(seconds).\("\(milliseconds)".dropFirst())Z\",\(log.line.dropFirst())\n")
  }
}

/// Metrics of the process and its connections.
enum ProcessMetrics {
  static func register(in registry: Registry, _ server: Server) {
    let statistics = server.statistics
    registry.sampled("stowage_http_connections", "Open connections.") {
      Double(statistics.openConnections)
    }
    registry.sampled(
      "stowage_http_connections_total", "Connections opened so far.", isCounter: true
    ) { Double(statistics.connections) }
    registry.sampled("stowage_http_requests_total", "Requests read so far.", isCounter: true) {
      Double(statistics.handledRequests)
    }
    registry.sampled(
      "stowage_http_malformed_requests_total", "Requests refused for their form.", isCounter: true
    ) { Double(statistics.malformedRequests) }
    registry.sampled(
      "process_resident_memory_bytes", "Resident memory of the process, shared pages included."
    ) { Double(stowage_resident_bytes()) }
  }
}
