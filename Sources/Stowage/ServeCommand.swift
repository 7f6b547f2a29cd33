import API
import ArgumentParser
import Backend
import CLinux
import Engine
import Glibc
import Logging
import Metrics
import Network
import Scheduling
import Simulation
import Threads
import Vocabulary

/// `stowage serve`: a folder of models over HTTP until a signal comes.
struct ServeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "serve",
    abstract: "Serves a folder of ONNX models over HTTP.",
    discussion: """
      The folder holds NAME.onnx, NAME/model.onnx or NAME/1/model.onnx. A model that cannot be
      served is named with the reason; the others are served all the same. One line on standard
      output tells when all are ready. SIGTERM and Ctrl-C answer what was asked, then stop.

      Example: stowage serve --models Models --port 8000 --units 2
      """)

  @OptionGroup var options: EngineOptions

  @Option(
    help: ArgumentHelp(
      "Memory for weights, activations and scratch, such as 512MiB; @FILE reads it from a file, "
        + "auto from the control group or the machine. SIGHUP reads it again."))
  var memory = MemoryLimit.automatic

  @Option(
    help: "Who brings weights in: planned, or demand (page faults, for comparison).")
  var paging = Paging.planned

  @Option(
    help: ArgumentHelp(
      "A means of comparison, not for serving: another way of making plans, by its name in "
        + "stowage simulate --list-policies. What it leaves to page faults comes in whole layers.",
      valueName: "name"))
  var policy: String?

  @Option(help: "The address to listen on, such as 127.0.0.1, 0.0.0.0 or ::.")
  var host = "127.0.0.1"

  @Option(help: "The port to listen on; 0 takes any free one.")
  var port = 8000

  @Option(help: "Threads that serve connections.")
  var loops = 1

  @Option(help: "Microseconds that a request may wait for others to travel with.")
  var maxQueueDelay = 0

  @Option(help: "Requests that may wait for one model; further ones are answered 429.")
  var queueLimit = Limits.queuedRequestsPerModel

  @Option(help: "Seconds that requests have to finish after SIGTERM.")
  var drainSeconds = 30

  @Flag(help: "Write a line of JSON to standard output for each request.")
  var logRequests = false

  @Flag(help: "Log less: only what went wrong.")
  var quiet = false

  /// The names of `--paging`.
  enum Paging: String, ExpressibleByArgument, CaseIterable {
    case planned
    case demand
  }

  func validate() throws {
    guard queueLimit > 0, maxQueueDelay >= 0, loops > 0, drainSeconds >= 0 else {
      throw ValidationError("Numbers of requests, loops and seconds must be positive.")
    }
    guard let policy else { return }
    guard paging == .planned else {
      throw ValidationError("--policy and --paging demand exclude each other.")
    }
    guard PolicyCatalog.entry(named: policy) != nil else {
      throw ValidationError(
        "There is no policy \(policy); stowage simulate --list-policies shows all.")
    }
  }

  func run() throws {
    stowage_keep_heaps_small()
    let signals = SignalWaiter()
    let folder = try ModelFolder(path: options.models)
    let registry = Registry()
    let engine = try makeEngine(registry, folder)
    let observer: (@Sendable (RequestLog) -> Void)? =
      logRequests ? RequestLogger.write : nil
    let api = InferenceAPI(
      service: engine, version: Stowage.version, registry: registry, observer: observer)
    let server = try Server(
      configuration: ServerConfiguration(host: host, port: port, loops: loops), handler: api)
    ProcessMetrics.register(in: registry, server)
    server.start()
    // Loading beside the server: health is answered while large models are being read.
    let loader = Thread("loader") {
      engine.load(folder)
      announce(server, engine)
    }
    while signals.wait() == SIGHUP { readMemory(engine) }
    drain(server, engine)
    loader.join()
  }

  private func makeEngine(_ registry: Registry, _ folder: ModelFolder) throws -> Engine {
    let units = options.unitCount
    let budget = paging == .planned ? try memory.bytes() : nil
    var logger = Logger(label: "stowage") { StreamLogHandler.standardError(label: $0) }
    logger.logLevel = quiet ? .error : .info
    let compared =
      policy == PolicyCatalog.stowage.name ? nil : policy.flatMap(PolicyCatalog.entry(named:))
    // Some of those that we are compared with run as many models side by side as there are units.
    let executors = compared == nil ? 1 : units
    return Engine(
      configuration: EngineConfiguration(
        units: units, executors: executors, maximumBatch: options.maxBatch,
        maximumQueueDelay: .microseconds(maxQueueDelay), queueLimit: queueLimit, memory: budget,
        packed: try options.packedFolder(), precision: try options.precisionChoice(folder),
        offersAlternatives: !options.fixedKernels),
      backend: options.backend.make(units: units, noMatrixUnits: options.noMatrixUnits),
      policy: try compared?.served(units: units, budget: budget ?? ByteCount(.max))
        ?? Scheduler(
          SchedulerOptions(
            units: units, executors: executors, budget: budget,
            frameBytes: ByteCount(PageFrames.frameBytes),
            gatheredBytes: ByteCount(Limits.gatheredPageInBytes))),
      registry: registry, logger: logger)
  }

  /// Takes the memory budget anew after SIGHUP.
  private func readMemory(_ engine: Engine) {
    guard paging == .planned, let bytes = try? memory.bytes() else { return }
    engine.changeMemory(to: bytes)
  }

  private func announce(_ server: Server, _ engine: Engine) {
    let states = engine.models.map(\.state)
    let ready = states.count { $0 == .ready }
    let refused = states.count - ready
    let name = host.contains(":") ? "[\(host)]" : host
    let rest = refused == 0 ? "" : ", \(refused) refused"
    StandardOutput.write(
      "Stowage serves \(ready) \(ready == 1 ? "model" : "models")\(rest) on "
        + "http://\(name):\(server.port)\n")
  }

  /// The engine first, so that no answer is lost; then the connections.
  private func drain(_ server: Server, _ engine: Engine) {
    let patience = Duration.seconds(drainSeconds)
    let waiting = Thread("drain") { engine.drain(within: patience) }
    server.drain(within: patience)
    waiting.join()
  }
}
