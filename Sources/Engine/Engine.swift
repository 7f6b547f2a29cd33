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
  let scheduler = SchedulerThread()
  private let executors: ExecutorPool
  private let pager: Pager
  let preparer = Preparer()
  let memory: MemoryUse
  private let damages: Lock<[ModelID]>
  private let repairer = Lock<Thread?>(nil)
  private let measurer = Lock<Thread?>(nil)
  private let hasEnded = Lock(false)
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
    memory = MemoryUse(registry, backend)
    let damages = Lock<[ModelID]>([])
    self.damages = damages
    pager = Pager(
      report: { [scheduler] in scheduler.post($0) },
      damaged: { [logger] model, error in
        logger.error("Model '\(model.description.name)' lost its weights: \(error)")
        model.failure.withLock { $0 = error.description }
        damages.notify { $0.append(model.id) }
      })
    let carrier = PlanCarrier(
      table: table, catalog: catalog, executors: executors, pager: pager, preparer: preparer,
      memory: memory)
    scheduler.start(policy) { carrier.carryOut(&$0) }
    if let memory = configuration.memory {
      changeMemory(to: memory)
      startMeasuring()
    }
  }

  /// Kernels of one more model are kept for each so many bytes of the budget; they take a fifth of
  /// it then.
  private static let budgetOfPreparedModel = 16 << 20

  /// Starts the thread that gives the scheduler less when the rest of the process takes more.
  private func startMeasuring() {
    let measure: @Sendable () -> Void = { [memory, scheduler] in
      if let share = memory.measure() { scheduler.post(.budgetChanged(share)) }
    }
    measurer.withLock {
      $0 = Thread("memory") { [hasEnded] in
        while hasEnded.wait(until: Clock.nanoseconds + 200_000_000, { $0 ? true : nil }) == nil {
          measure()
        }
      }
    }
  }

  /// Changes the memory budget while serving: weights are evicted, requests that can never fit any
  /// more are refused.
  public func changeMemory(to bytes: ByteCount) {
    preparer.keep(
      atMost: max(Limits.modelsPreparedAtStart, bytes.bytes / Self.budgetOfPreparedModel))
    scheduler.post(.budgetChanged(memory.setBudget(bytes)))
  }

  /// Makes a loaded model known to the scheduler.
  func announce(_ model: ServedModel, _ profile: ModelProfile) {
    scheduler.post(.modelAdded(model.id, profile))
  }

  /// Has a model forgotten by the scheduler: what waits for it is refused.
  func withdraw(_ model: ModelID) { scheduler.post(.modelRemoved(model)) }

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
    preparer.use(model)
    model.metrics.admitted()
    scheduler.post(
      .arrived(
        QueuedRequest(
          id: id, tenant: request.tenant, model: model.id, samples: valid.samples,
          shapeClass: model.queuedRequestClass(valid.inputs.map(\.shape)),
          priority: request.priority, deadline: request.timeout.map { now + $0 })))
  }

  // MARK: Repair

  /// No model: the sign for the repairing thread to end.
  private static let end = ModelID(-1)

  /// Starts the thread that loads models anew when their packed weights were damaged.
  func startRepairing(_ repair: @escaping @Sendable (ServedModel) -> Void) {
    repairer.withLock {
      $0 =
        $0
        ?? Thread("repairer") { [damages, catalog] in
          while case let id = damages.wait({ $0.popLast() }), id != Self.end {
            if let model = catalog.current(id) { repair(model) }
          }
        }
    }
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
    pager.stop()
    preparer.stop()
    damages.notify { $0 = [Self.end] }
    repairer.withLock { $0 }?.join()
    hasEnded.notify { $0 = true }
    measurer.withLock { $0 }?.join()
  }
}
