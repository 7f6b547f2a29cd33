import Scheduling
import Threads
import Vocabulary

/// The thread that owns the policy: takes events, asks for plans, carries them out.
final class SchedulerThread: Sendable {
  private let mailbox = Lock<[Event]>([])
  private let isStopping = Lock(false)
  private let thread = Lock<Thread?>(nil)

  /// Starts the thread.
  ///
  /// - Parameters:
  ///   - policy: What decides.
  ///   - carryOut: Called on the thread with each plan that has something to do.
  func start(_ policy: any Policy, carryOut: @escaping @Sendable (inout Plan) -> Void) {
    thread.withLock {
      $0 = Thread("scheduler") { [self] in run(policy, carryOut) }
    }
  }

  func post(_ event: Event) { mailbox.notify { $0.append(event) } }

  func stop() {
    isStopping.withLock { $0 = true }
    post(.tick)
    thread.withLock { $0 }?.join()
  }

  private func run(_ initial: any Policy, _ carryOut: (inout Plan) -> Void) {
    var policy = initial
    var plan = Plan()
    var events: [Event] = []
    while !isStopping.withLock({ $0 }) {
      receive(into: &events, until: plan.wakeAt)
      for event in events {
        policy.step(event, at: Instant(nanoseconds: Clock.nanoseconds), into: &plan)
        carryOut(&plan)
      }
    }
  }

  /// Waits for events; a tick stands for the moment that the last plan asked for.
  private func receive(into events: inout [Event], until moment: Instant?) {
    events.removeAll(keepingCapacity: true)
    func take(_ waiting: inout [Event]) -> Bool? {
      guard !waiting.isEmpty else { return nil }
      swap(&waiting, &events)
      return true
    }
    guard let moment else {
      _ = mailbox.wait(take)
      return
    }
    if mailbox.wait(until: moment.nanoseconds, take) == nil { events.append(.tick) }
  }
}
