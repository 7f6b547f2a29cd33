public import Backend
import Compiler
public import Logging
public import Metrics
import Models
public import Scheduling
import Synchronization
import Threads
public import Vocabulary

/// Serves models: checks requests, has a policy decide, and carries its plans out.
public final class Engine: InferenceService {
  let configuration: EngineConfiguration
  let backend: any Backend
  let registry: Registry
  let logger: Logger
  let catalog = Catalog()
  private let table = RequestTable()
  private let scheduler = SchedulerThread()
  private let executors: ExecutorPool
  private let isDraining = Atomic<Bool>(false)

  /// An engine without models.
  ///
  /// - Parameters:
  ///   - backend: Where layers run.
  ///   - policy: What decides; a `Scheduler` in a server.
  ///   - registry: Where the metrics of the models go.
  public init(
    configuration: EngineConfiguration, backend: any Backend, policy: any Policy,
    registry: Registry, logger: Logger
  ) {
    self.configuration = configuration
    self.backend = backend
    self.registry = registry
    self.logger = logger
    executors = ExecutorPool(count: configuration.executors) { [scheduler] in scheduler.post($0) }
    let carrier = PlanCarrier(table: table, catalog: catalog, executors: executors)
    scheduler.start(policy) { carrier.carryOut(&$0) }
  }

  /// Makes a loaded model known to the scheduler.
  func announce(_ model: ServedModel, _ profile: ModelProfile) {
    scheduler.post(.modelAdded(model.id, profile))
  }

  // MARK: InferenceService

  /// Every model of the store, loaded or refused.
  public var models: [ModelDescription] { catalog.descriptions }

  /// A model by name; the newest ready version when none is named.
  public func model(_ name: String, version: String?) -> ModelDescription? {
    catalog.description(name, version: version)
  }

  /// Whether every model was loaded or refused, and none is being drained.
  public var isReady: Bool { !isDraining.load(ordering: .relaxed) && catalog.isComplete }

  /// Checks a request and queues it; the answer comes exactly once.
  @discardableResult
  public func infer(
    _ request: InferenceRequest,
    completion: @escaping @Sendable (Result<InferenceResult, InferenceError>) -> Void
  ) -> RequestID {
    let id = table.nextID()
    do throws(InferenceError) {
      guard !isDraining.load(ordering: .relaxed) else {
        throw InferenceError(.unavailable, "The server is shutting down; ask another one.")
      }
      let model = try catalog.served(request.model, version: request.version)
      do throws(InferenceError) {
        try admit(request, id, model, completion)
      } catch {
        model.metrics.refused(error)
        throw error
      }
    } catch {
      completion(.failure(error))
    }
    return id
  }

  /// Tells that nobody waits for an answer any more.
  public func cancel(_ request: RequestID) { scheduler.post(.cancelled(request)) }

  private func admit(
    _ request: InferenceRequest, _ id: RequestID, _ model: ServedModel,
    _ completion: @escaping @Sendable (Result<InferenceResult, InferenceError>) -> Void
  ) throws(InferenceError) {
    let valid = try model.validate(request)
    let now = Instant(nanoseconds: Clock.nanoseconds)
    let pending = PendingRequest(
      id: id, model: model, request: valid, arrived: now, completion: completion)
    table.insert(pending)
    model.metrics.admitted()
    scheduler.post(
      .arrived(
        QueuedRequest(
          id: id, tenant: request.tenant, model: model.id, samples: valid.samples,
          shapeClass: model.queuedRequestClass(valid.inputs.map(\.shape)),
          priority: request.priority, deadline: request.timeout.map { now + $0 })))
  }

  // MARK: The end

  /// Refuses new requests and waits for the answers of the others.
  ///
  /// - Parameter patience: The longest wait.
  public func drain(within patience: Duration) {
    isDraining.store(true, ordering: .relaxed)
    table.waitUntilEmpty(until: Clock.nanoseconds + patience.wholeNanoseconds)
    scheduler.stop()
    executors.stop()
  }
}
