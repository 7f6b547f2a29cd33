public import Vocabulary

/// All that can happen to a policy.
public enum Event: Sendable {
  /// A model can now be asked for.
  case modelAdded(ModelID, ModelProfile)
  /// A model is gone; what waits for it is rejected, what runs is finished.
  case modelRemoved(ModelID)
  /// A request was checked and wants its turn.
  case arrived(QueuedRequest)
  /// The client of a request has gone away.
  case cancelled(RequestID)
  /// An executor has done what a run asked for.
  case runFinished(RunID, took: Duration)
  /// An executor could not do it; the requests of the batch are lost.
  case runFailed(RunID)
  /// The pager has done what a page-in asked for.
  case pagedIn(PageInID, took: Duration)
  /// The pager could not do it; the batch that needs the weights is lost.
  case pageInFailed(PageInID)
  /// Memory may now hold this much.
  case budgetChanged(ByteCount)
  /// The moment that a plan asked to be woken at.
  case tick
}

/// A request as the scheduler sees it: its size and urgency, not its tensors.
public struct QueuedRequest: Sendable {
  /// The request.
  public var id: RequestID
  /// Who asks.
  public var tenant: TenantID
  /// The model asked for.
  public var model: ModelID
  /// Samples of the request; at least 1.
  public var samples: Int
  /// Requests of one model travel together only when their shape class is the same; not negative.
  public var shapeClass: Int
  /// 0 is first; larger numbers wait for smaller ones.
  public var priority: Int
  /// When an answer is of no more use; nil for never.
  public var deadline: Instant?

  /// A request as the scheduler sees it.
  public init(
    id: RequestID, tenant: TenantID = .shared, model: ModelID, samples: Int, shapeClass: Int = 0,
    priority: Int = 0, deadline: Instant? = nil
  ) {
    self.id = id
    self.tenant = tenant
    self.model = model
    self.samples = samples
    self.shapeClass = shapeClass
    self.priority = priority
    self.deadline = deadline
  }

  /// Gives the request a shape class of its own, so that no other joins its batch.
  mutating func travelsAlone() { shapeClass = -1 - Int(clamping: id.rawValue) }
}
