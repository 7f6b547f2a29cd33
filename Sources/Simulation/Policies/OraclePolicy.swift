import Scheduling
import Vocabulary

extension PolicyCatalog {
  /// The exhaustive search of the planner (`Oracle`, A* over all states), played step by step.
  ///
  /// It refuses what the search does not know, with a sentence.
  static let oracle = Entry(
    name: "oracle",
    summary: "the least mean of all plans, by exhaustive search; tiny workloads only",
    isPlanned: true
  ) { try OraclePolicy($0) }
}

/// Plays the plan with the least mean latency of all: of one tiny network, all of whose requests
/// come at one moment, and whose weights come and go whole.
struct OraclePolicy: Policy {
  private let profile: ModelProfile
  private let plan: NetworkPlan
  private let requestCount: Int
  private var requests: [RequestID] = []
  /// The step that runs, or that waits for its weights.
  private var current = 0
  private var isRunning = false
  /// Samples that have been through each layer: the first ones always go first.
  private var through: [Int]
  /// Page-ins under way.
  private var pending: [(id: PageInID, layer: Int)] = []
  private var nextPageIn: UInt64 = 0
  private let batch = BatchID(0)
  private let model = ModelID(0)
  private let units: Int

  /// - Throws: A sentence on why the workload is not one that can be searched.
  init(_ workload: Workload) throws {
    let requests = workload.requests()
    if let reason = Self.refusal(workload, requests) {
      throw WorkloadFile.Mistake("The oracle cannot play this workload: \(reason)")
    }
    profile = workload.models[0].profile
    units = workload.device.units
    requestCount = requests.count
    through = Array(repeating: 0, count: profile.layers.count)
    guard let plan = try Oracle.plan(Self.instance(workload, samples: requests.count)) else {
      throw WorkloadFile.Mistake(
        "The oracle cannot play this workload: the search has reached its limit of states.")
    }
    self.plan = plan
  }

  private static func refusal(
    _ workload: Workload, _ requests: [(at: Double, request: QueuedRequest)]
  ) -> String? {
    let profile = workload.models[0].profile
    let (layers, samples) = (profile.layers, requests.count)
    let faults = workload.faults
    let isQuiet =
      workload.noise == 0 && faults.runFailure == 0 && faults.pageInFailure == 0
      && faults.cancellation == 0 && faults.linkSpeed.isEmpty && faults.budgetShares.isEmpty
      && !faults.removesModel
    let needed: [(Bool, String)] = [
      (workload.models.count == 1, "it plans one model at a time."),
      (
        layers.count <= Oracle.layerLimit && (1...Oracle.sampleLimit).contains(samples),
        "it searches at most \(Oracle.layerLimit) layers and \(Oracle.sampleLimit) requests, not "
          + "\(layers.count) and \(samples)."
      ),
      (
        requests.allSatisfy {
          $0.at == requests[0].at && $0.request.samples == 1 && $0.request.deadline == nil
        }, "its requests have one sample, no deadline, and come at one moment."
      ),
      (profile.maximumBatch >= samples, "maximum_batch must be \(samples), or more."),
      (isQuiet, "it knows neither noise nor faults."),
      (
        profile.input == .zero && layers.last?.activations == .zero,
        "input_mb and the activation_mb of the last layer must be 0, as it counts neither."
      ),
      (
        layers.allSatisfy { layer in
          (0..<layer.kernelCount).allSatisfy { layer.kernel($0).scratch == .zero }
        }, "it knows no scratch."
      ),
    ]
    return needed.first { !$0.0 }?.1
  }

  private static func instance(_ workload: Workload, samples: Int) -> Instance {
    let layers = workload.models[0].profile.layers.map { layer in
      Instance.Layer(
        activations: Double(layer.activations.bytes) / 1e6,
        kernels: (0..<layer.kernelCount).map { number in
          let kernel = layer.kernel(number)
          let points = (1...samples).map {
            StepTime.Point(
              samples: $0,
              milliseconds: kernel.cost.seconds(batch: $0, units: workload.device.units) * 1e3)
          }
          return Instance.Kernel(
            weights: Double(kernel.weights.bytes) / 1e6, time: .table(points))
        })
    }
    return Instance(
      layers: layers, samples: samples, memory: Double(workload.budget.bytes) / 1e6,
      linkRate: workload.device.link.gigabytesPerSecond,
      linkLatency: workload.device.link.latencyMicroseconds / 1e3, objective: .sum)
  }

  mutating func step(_ event: Event, at now: Instant, into plan: inout Plan) {
    plan.removeAll()
    switch event {
    case .arrived(let request):
      requests.append(request.id)
      if requests.count == requestCount { begin(&plan) }
    case .pagedIn(let id, _): pending.removeAll { $0.id == id }
    case .runFinished: finish(&plan)
    default: return
    }
    run(&plan)
  }

  private mutating func begin(_ plan: inout Plan) {
    plan.members = requests
    plan.batches.append(
      Batch(
        id: batch, model: model, requests: 0..<requestCount, samples: 0..<requestCount,
        capacity: requestCount, reason: .full))
    open(&plan)
  }

  /// Drops and brings in what stands under the current step, once the one before it is over.
  private mutating func open(_ plan: inout Plan) {
    let step = self.plan.steps[current]
    for drop in step.drops {
      plan.evictions.append(
        Eviction(
          model: model, layer: drop.layer, kernel: self.plan.kernels[drop.layer],
          bytes: weights(drop.layer)))
    }
    for transfer in step.transfers {
      let id = PageInID(nextPageIn)
      nextPageIn += 1
      pending.append((id, transfer.layer))
      plan.pageIns.append(
        PageIn(
          id: id, model: model, layer: transfer.layer, kernel: self.plan.kernels[transfer.layer],
          bytes: weights(transfer.layer)))
    }
  }

  private func weights(_ layer: Int) -> Range<Int> {
    0..<profile.layers[layer].kernel(plan.kernels[layer]).weights.bytes
  }

  private mutating func run(_ plan: inout Plan) {
    guard requests.count == requestCount, current < self.plan.steps.count, !isRunning else {
      return
    }
    let step = self.plan.steps[current]
    guard !pending.contains(where: { $0.layer == step.layer }) else { return }
    isRunning = true
    let first = through[step.layer]
    plan.runs.append(
      Run(
        id: RunID(UInt64(current)), batch: batch, model: model,
        layers: step.layer..<step.layer + 1, samples: first..<first + step.samples,
        chunk: step.samples, kernels: self.plan.kernels[step.layer...step.layer], units: units))
  }

  private mutating func finish(_ plan: inout Plan) {
    let step = self.plan.steps[current]
    let first = through[step.layer]
    through[step.layer] += step.samples
    if step.layer == profile.layers.count - 1 {
      plan.answers += requests[first..<first + step.samples]
    }
    isRunning = false
    current += 1
    if current < self.plan.steps.count { open(&plan) } else { plan.completions.append(batch) }
  }
}
