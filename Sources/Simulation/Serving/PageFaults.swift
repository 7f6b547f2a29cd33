import Scheduling
import Vocabulary

/// The page faults of a policy that does not plan its memory, as page-ins of a plan.
///
/// A run of the policy goes on for as many layers as are there. What the next one misses comes in
/// whole while the run waits, as if its first access had raised all of its faults at once; what was
/// used longest ago goes. That is kinder than a kernel, which serves faults at a part of the link's
/// rate, and it is what `Simulator` does with the same policy.
struct PageFaults: Sendable {
  /// A run of the policy on its way through its layers.
  private struct ActiveRun {
    var run: Run
    /// The layers that run now, or for the first of which weights come in.
    var layers: Range<Int>
    var part: RunID?
    var pageIn: PageIn?
    var took = Duration.zero
  }

  /// The activations of a batch: where its samples stand, and its bytes now.
  private struct LiveBatch {
    var model: Int
    var samples = 0
    var layer = 0
    var bytes = 0
  }

  private var policy: any Policy
  private var profiles: [ModelProfile] = []
  private var memory: ServedMemory
  private var runs: [ActiveRun] = []
  private var batches: [BatchID: LiveBatch] = [:]
  /// Page-ins that the policy asked for itself.
  private var asked: [PageInID: PageIn] = [:]
  private var inner = Plan()
  private var wakeAt: Instant?
  /// Numbers of page-ins begin where no policy's own get to.
  private var nextID: UInt64 = 1 << 62

  init(_ policy: any Policy, budget: Int, page: Int) {
    self.policy = policy
    memory = ServedMemory(budget: budget, page: page)
  }

  /// Goes on with another policy, when nothing is under way; the weights go.
  mutating func replace(with policy: any Policy, _ plan: inout Plan) {
    self.policy = policy
    for model in memory.resident.indices {
      for layer in memory.resident[model].indices { evict(model, layer, keeping: 0, &plan) }
    }
  }

  /// Tells the policy something that leads to no plan.
  mutating func tell(_ event: Event, at now: Instant) { policy.step(event, at: now, into: &inner) }

  /// Takes one event and adds what to do now to a plan.
  mutating func step(_ event: Event, at now: Instant, into plan: inout Plan) {
    defer {
      plan.weights = ByteCount(memory.weightBytes)
      plan.wakeAt = wakeAt
    }
    switch event {
    case .modelAdded(_, let profile):
      profiles.append(profile)
      memory.add(profile.layers.map(\.weights.bytes))
    case .budgetChanged(let bytes):
      memory.budget = bytes.bytes
      makeRoom(for: 0, &plan)
    case .runFinished(let id, let took):
      if let index = runs.firstIndex(where: { $0.part == id }) {
        return finishPart(index, took, at: now, &plan)
      }
    case .runFailed(let id):
      if let index = runs.firstIndex(where: { $0.part == id }) {
        return forward(.runFailed(runs.remove(at: index).run.id), at: now, &plan)
      }
    case .pagedIn(let id, let took):
      if let index = runs.firstIndex(where: { $0.pageIn?.id == id }) {
        arrive(runs[index].pageIn)
        runs[index].pageIn = nil
        runs[index].took += took
        return begin(index, &plan)
      }
      arrive(asked.removeValue(forKey: id))
    case .pageInFailed(let id):
      if let index = runs.firstIndex(where: { $0.pageIn?.id == id }) {
        let lost = runs.remove(at: index)
        memory.release(lost.pageIn?.bytes.count ?? 0)
        return forward(.runFailed(lost.run.id), at: now, &plan)
      }
      memory.release(asked.removeValue(forKey: id)?.bytes.count ?? 0)
    default: break
    }
    forward(event, at: now, &plan)
  }

  // MARK: Plans of the policy

  /// Has the policy take an event, and takes over what it says.
  private mutating func forward(_ event: Event, at now: Instant, _ plan: inout Plan) {
    policy.step(event, at: now, into: &inner)
    wakeAt = inner.wakeAt
    for eviction in inner.evictions where !isInUse(eviction.model.index, eviction.layer) {
      evict(eviction.model.index, eviction.layer, keeping: eviction.bytes.lowerBound, &plan)
    }
    plan.rejections += inner.rejections
    plan.answers += inner.answers
    plan.completions += inner.completions
    plan.returns += inner.returns
    for batch in inner.completions + inner.returns {
      memory.changeActivations(by: -(batches.removeValue(forKey: batch)?.bytes ?? 0))
    }
    for batch in inner.batches { form(batch, inner.requests(of: batch), &plan) }
    for var pageIn in inner.pageIns {
      // Page faults and evictions that had to wait leave other bytes than the policy believes.
      let there = memory.resident[pageIn.model.index][pageIn.layer]
      pageIn.bytes = there..<max(pageIn.bytes.upperBound, there)
      memory.reserve(pageIn.bytes.count)
      asked[pageIn.id] = pageIn
      plan.pageIns.append(pageIn)
    }
    for run in inner.runs {
      runs.append(
        ActiveRun(run: run, layers: run.layers.lowerBound..<run.layers.lowerBound + 1))
      begin(runs.count - 1, &plan)
    }
  }

  /// Room is made for the samples that travel, not for all that a batch could grow to.
  private mutating func form(
    _ batch: Batch, _ requests: ArraySlice<RequestID>, _ plan: inout Plan
  ) {
    var batch = batch
    batch.capacity = batch.samples.upperBound
    batch.requests = plan.members.count..<plan.members.count + requests.count
    plan.members += requests
    plan.batches.append(batch)
    batches[batch.id, default: LiveBatch(model: batch.model.index)].samples = batch.capacity
    settle(batch.id)
  }

  // MARK: Runs

  /// Hands out the layers that are there, or brings the next one in.
  private mutating func begin(_ index: Int, _ plan: inout Plan) {
    let (run, model) = (runs[index].run, runs[index].run.model.index)
    let first = runs[index].layers.lowerBound
    settle(run.batch, running: (first..<first + 1, run))
    let missing = memory.missing(model, first)
    makeRoom(for: missing, &plan)
    nextID += 1
    guard missing == 0 else {
      let bytes = memory.resident[model][first]..<memory.weights[model][first]
      let pageIn = PageIn(id: PageInID(nextID), model: run.model, layer: first, bytes: bytes)
      memory.reserve(missing)
      runs[index].pageIn = pageIn
      plan.pageIns.append(pageIn)
      return
    }
    var end = first + 1
    while end < run.layers.upperBound, memory.missing(model, end) == 0 { end += 1 }
    runs[index].layers = first..<end
    settle(run.batch, running: (first..<end, run))
    for layer in first..<end { memory.touch(model, layer) }
    makeRoom(for: 0, &plan)
    var part = run
    part.id = RunID(nextID)
    part.layers = first..<end
    if !run.layerBatches.isEmpty { part.layerBatches = run.layerBatches[first..<end] }
    runs[index].part = part.id
    plan.runs.append(part)
  }

  private mutating func finishPart(
    _ index: Int, _ took: Duration, at now: Instant, _ plan: inout Plan
  ) {
    runs[index].part = nil
    runs[index].took += took
    let (run, next) = (runs[index].run, runs[index].layers.upperBound)
    batches[run.batch]?.layer = next
    if next < run.layers.upperBound {
      runs[index].layers = next..<next + 1
      return begin(index, &plan)
    }
    let whole = runs.remove(at: index)
    settle(run.batch)
    forward(.runFinished(run.id, took: whole.took), at: now, &plan)
  }

  // MARK: Memory

  private func isInUse(_ model: Int, _ layer: Int) -> Bool {
    runs.contains { $0.run.model.index == model && $0.layers.contains(layer) }
      || asked.values.contains { $0.model.index == model && $0.layer == layer }
  }

  private mutating func makeRoom(for bytes: Int, _ plan: inout Plan) {
    let (runs, asked) = (runs, asked)
    memory.makeRoom(for: bytes) { model, layer in
      runs.contains { $0.run.model.index == model && $0.layers.contains(layer) }
        || asked.values.contains { $0.model.index == model && $0.layer == layer }
    } evicted: { model, layer, bytes in
      plan.evictions.append(Eviction(model: ModelID(Int32(model)), layer: layer, bytes: bytes))
    }
  }

  private mutating func evict(_ model: Int, _ layer: Int, keeping kept: Int, _ plan: inout Plan) {
    let there = memory.resident[model][layer]
    guard kept < there else { return }
    plan.evictions.append(
      Eviction(model: ModelID(Int32(model)), layer: layer, bytes: kept..<there))
    memory.evict(model, layer, keeping: kept)
  }

  private mutating func arrive(_ pageIn: PageIn?) {
    guard let pageIn else { return }
    memory.arrive(pageIn.model.index, pageIn.layer, bytes: pageIn.bytes.count)
  }

  /// Counts the activations of a batch anew: what lives at its border, and while layers run what
  /// the largest of them takes.
  private mutating func settle(_ id: BatchID, running: (layers: Range<Int>, run: Run)? = nil) {
    guard var batch = batches[id] else { return }
    let profile = profiles[batch.model]
    func border(_ layer: Int) -> Int {
      layer == 0 ? profile.input.bytes : profile.layers[layer - 1].activations.bytes
    }
    var bytes = batch.samples * (batch.layer < profile.layers.count ? border(batch.layer) : 0)
    if let (layers, run) = running {
      for layer in layers {
        let most = run.layerBatches.isEmpty ? run.chunk : run.layerBatches[layer]
        let taken =
          batch.samples * (border(layer) + profile.layers[layer].activations.bytes)
          + min(most, run.chunk) * profile.layers[layer].scratch.bytes
        bytes = max(bytes, taken)
      }
    }
    memory.changeActivations(by: bytes - batch.bytes)
    batch.bytes = bytes
    batches[id] = batch
  }
}
