import Models
import Synchronization
import Threads
import Vocabulary

/// A request from its admission to its only answer.
final class PendingRequest: Sendable {
  let id: RequestID
  let model: ServedModel
  let inputs: [Tensor]
  let samples: Int
  let outputs: [Int]
  let arrived: Instant
  private let completion: @Sendable (Result<InferenceResult, InferenceError>) -> Void
  private let isAnswered = Atomic<Bool>(false)

  init(
    id: RequestID, model: ServedModel, request: ValidRequest, arrived: Instant,
    completion: @escaping @Sendable (Result<InferenceResult, InferenceError>) -> Void
  ) {
    self.id = id
    self.model = model
    inputs = request.inputs
    samples = request.samples
    outputs = request.outputs
    self.arrived = arrived
    self.completion = completion
  }

  /// Gives the answer, unless there was one.
  ///
  /// - Returns: Whether it was the first.
  func answer(_ result: Result<InferenceResult, InferenceError>) -> Bool {
    guard !isAnswered.exchange(true, ordering: .acquiringAndReleasing) else { return false }
    completion(result)
    return true
  }
}

/// The requests that have no answer yet.
final class RequestTable: Sendable {
  private let requests = Lock<[RequestID: PendingRequest]>([:])
  private let next = Atomic<UInt64>(1)

  func nextID() -> RequestID { RequestID(next.add(1, ordering: .relaxed).oldValue) }

  func insert(_ request: PendingRequest) { requests.withLock { $0[request.id] = request } }

  func remove(_ id: RequestID) -> PendingRequest? {
    requests.notify { $0.removeValue(forKey: id) }
  }

  subscript(id: RequestID) -> PendingRequest? { requests.withLock { $0[id] } }

  var count: Int { requests.withLock { $0.count } }

  /// Waits until every request has its answer, but no longer than until a moment.
  func waitUntilEmpty(until nanoseconds: Int64) {
    _ = requests.wait(until: nanoseconds) { $0.isEmpty ? () : nil }
  }
}
