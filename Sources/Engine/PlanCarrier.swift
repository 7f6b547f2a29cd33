import Scheduling
import Threads
import Vocabulary

/// Carries plans out, on the scheduler's thread.
final class PlanCarrier: @unchecked Sendable {
  // Unchecked: used by the scheduler's thread alone.

  private let table: RequestTable
  private let catalog: Catalog
  private let executors: ExecutorPool
  private let pager: Pager
  private let preparer: Preparer
  private let memory: MemoryUse
  private var batches: [BatchID: ActiveBatch] = [:]
  /// The batch of each request that is in one, for the sentence of a failed run.
  private var batchOf: [RequestID: BatchID] = [:]

  init(
    table: RequestTable, catalog: Catalog, executors: ExecutorPool, pager: Pager,
    preparer: Preparer, memory: MemoryUse
  ) {
    self.table = table
    self.catalog = catalog
    self.executors = executors
    self.pager = pager
    self.preparer = preparer
    self.memory = memory
  }

  func carryOut(_ plan: inout Plan) {
    for eviction in plan.evictions { evict(eviction) }
    for rejection in plan.rejections { reject(rejection) }
    for request in plan.answers { finish(request) }
    for batch in plan.completions { batches.removeValue(forKey: batch).map(complete) }
    for batch in plan.returns { giveBack(batch) }
    for batch in plan.batches { form(batch, plan.requests(of: batch)) }
    // Before the page-ins: they take over what batches and evicted weights have left.
    memory.makeRoom(forWeights: plan.weights)
    for pageIn in plan.pageIns { start(pageIn) }
    for run in plan.runs { start(run) }
  }

  private func evict(_ eviction: Eviction) {
    guard let model = catalog[eviction.model] else { return }
    model.packed?.evict(
      layer: eviction.layer, kernel: eviction.kernel, bytes: eviction.bytes)
    model.paging.evicted(eviction.layer, eviction.bytes.count)
  }

  private func start(_ pageIn: PageIn) {
    if let model = catalog[pageIn.model] { pager.submit(pageIn, of: model) }
  }

  private func form(_ batch: Batch, _ requests: ArraySlice<RequestID>) {
    guard let model = catalog[batch.model] else { return }
    preparer.use(model)
    let active =
      batches[batch.id] ?? ActiveBatch(id: batch.id, model: model, capacity: batch.capacity)
    batches[batch.id] = active
    active.capacity = max(active.capacity, batch.capacity)
    var first = batch.samples.lowerBound
    for id in requests {
      guard let request = table[id] else { continue }
      active.join(request, samples: first..<first + request.samples)
      first += request.samples
      batchOf[id] = batch.id
    }
    model.metrics.batchFormed(
      requests: requests.count, samples: batch.samples.count, reason: batch.reason)
  }

  private func start(_ run: Run) {
    guard let batch = batches[run.batch] else { return }
    let now = Instant(nanoseconds: Clock.nanoseconds)
    batch.model.paging.resumed(at: now, since: batch.idleSince)
    batch.model.paging.used(run.layers, at: now)
    executors.submit(.run(ExecutorPool.Work(run, of: batch)))
  }

  /// Forgets a request that its executor has answered.
  private func finish(_ id: RequestID) {
    batchOf[id] = nil
    _ = table.remove(id)
  }

  private func complete(_ batch: ActiveBatch) {
    for member in batch.members { finish(member.request.id) }
    batch.model.metrics.batchFinished(batch.computeTime, predicted: batch.predictedTime)
    batch.release()
  }

  /// Frees the memory of a batch whose requests wait for another one.
  private func giveBack(_ id: BatchID) {
    guard let batch = batches.removeValue(forKey: id) else { return }
    for member in batch.members where batchOf[member.request.id] == id {
      batchOf[member.request.id] = nil
    }
    batch.release()
  }

  private func reject(_ rejection: Rejection) {
    guard let request = table.remove(rejection.request) else { return }
    let batch = batchOf.removeValue(forKey: rejection.request)
    let error = InferenceError(
      rejection.reason, model: request.model.description,
      failure: batch.flatMap { batches[$0]?.failure } ?? request.model.failure.withLock { $0 })
    guard request.answer(.failure(error)) else { return }
    request.model.metrics.failed(
      error, total: Instant(nanoseconds: Clock.nanoseconds) - request.arrived,
      waited: batch == nil)
  }
}

extension InferenceError {
  /// The sentence for a rejection.
  init(_ reason: Rejection.Reason, model: ModelDescription, failure: String?) {
    let name = "Model '\(model.name)'"
    switch reason {
    case .queueFull(let retryAfter):
      self.init(
        .queueFull(retryAfter: retryAfter),
        "\(name) has as many requests waiting as it may; try again later.")
    case .deadlinePassed:
      self.init(.deadlinePassed, "The request's timeout passed before \(name) could answer.")
    case .cancelled: self.init(.cancelled, "The client went away before the answer.")
    case .modelRemoved: self.init(.unavailable, "\(name) was unloaded while the request waited.")
    case .tooManySamples(let maximum):
      self.init(.invalid, "\(name) takes at most \(maximum) samples in one request.")
    case .insufficientMemory(let needed):
      self.init(
        .insufficientMemory,
        "\(name) needs \(needed.bytes) bytes (\(needed)) for this request, more than the memory "
          + "budget allows; send fewer samples or raise --memory.")
    case .failed: self.init(.failed, failure ?? "\(name) failed to run.")
    }
  }
}
