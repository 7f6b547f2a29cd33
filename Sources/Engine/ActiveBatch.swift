import Backend
import Compiler
import Models
import Scheduling
import Threads
import Vocabulary

/// The memory and the requests of a batch while it is on its way.
///
/// Handed from thread to thread with each run; one thread at a time works on it.
final class ActiveBatch: @unchecked Sendable {
  // Unchecked: the mailboxes that carry it order the accesses.

  /// A request and its samples of the batch.
  struct Member {
    var request: PendingRequest
    var samples: Range<Int>
  }

  let id: BatchID
  let model: ServedModel
  /// The samples that it has room for.
  var capacity: Int
  private(set) var members: [Member] = []
  private var gathered = 0
  private var workspace: (any Workspace)?
  /// Its model's kernels: the same from the first run to the last, whoever lets go of them.
  private var loaded: (any LoadedModel)?
  /// When the first run began.
  private(set) var started: Instant?
  /// Time that its runs took together.
  private(set) var computeTime = Duration.zero
  /// Time that they should have taken; nil when nothing was known of one of them.
  private(set) var predictedTime: Duration? = .zero
  /// Bytes of its workspace when they were counted last.
  private var counted = 0
  /// How many layers each sample is past.
  private var progress: [Int] = []
  /// When its last run ended, or when it was formed.
  private(set) var idleSince = Instant(nanoseconds: Clock.nanoseconds)
  /// The sentence of a run that failed.
  var failure: String?

  init(id: BatchID, model: ServedModel, capacity: Int) {
    self.id = id
    self.model = model
    self.capacity = capacity
  }

  var samples: Int { members.last?.samples.upperBound ?? 0 }

  func join(_ request: PendingRequest, samples: Range<Int>) {
    members.append(Member(request: request, samples: samples))
    progress += Array(repeating: 0, count: samples.count)
  }

  /// Copies the inputs of members that joined since, and returns the memory they are in.
  func gather(at now: Instant) throws(ModelError) -> any Workspace {
    started = started ?? now
    let workspace = try existingWorkspace()
    for member in members[gathered...] {
      for (index, tensor) in member.request.inputs.enumerated() {
        if model.batchSymbol == nil {
          workspace.setInput(index, to: tensor)
        } else {
          workspace.setInput(index, samples: member.samples, to: tensor)
        }
      }
    }
    gathered = members.count
    return workspace
  }

  func kernels() throws(ModelError) -> any LoadedModel {
    if let loaded { return loaded }
    let kernels = try model.preparation.kernels()
    loaded = kernels
    return kernels
  }

  /// Takes note of a run: what no sample will read any more is freed.
  func ran(_ run: Run, took: Duration) {
    computeTime += took
    predictedTime = run.predicted.flatMap { next in predictedTime.map { $0 + next } }
    idleSince = Instant(nanoseconds: Clock.nanoseconds)
    for sample in run.samples where progress.indices.contains(sample) {
      progress[sample] = run.layers.upperBound
    }
    workspace?.releaseValues(before: run.layers.upperBound, samples: run.samples)
    workspace?.releaseValues(before: progress.min() ?? 0)
    countMemory()
  }

  private func countMemory() {
    let bytes = workspace?.byteCount.bytes ?? 0
    model.paging.addActivations(bytes - counted)
    counted = bytes
  }

  /// Whether all samples of a member are past the last layer.
  func isThrough(_ member: Member) -> Bool {
    progress[member.samples].allSatisfy { $0 == model.sheet.layers.count }
  }

  /// The outputs that a member asked for.
  func outputs(of member: Member) -> [(name: String, tensor: Tensor)] {
    guard let workspace else { return [] }
    return member.request.outputs.map { place in
      (
        model.description.outputs[place].name,
        workspace.output(place, samples: member.samples)
      )
    }
  }

  /// Gives the memory back.
  func release() {
    workspace = nil
    loaded = nil
    countMemory()
  }

  private func existingWorkspace() throws(ModelError) -> any Workspace {
    if let workspace {
      if capacity > workspace.samples, model.batchSymbol != nil { workspace.grow(to: capacity) }
      return workspace
    }
    let shapes = members.first?.request.inputs.map(\.shape) ?? []
    let taken = try kernels().makeWorkspace(
      samples: capacity,
      inputShapes: model.batchSymbol == nil ? shapes : shapes.map { [capacity] + $0.dropFirst() })
    workspace = taken
    return taken
  }
}
