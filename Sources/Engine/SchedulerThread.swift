import Scheduling
import Threads
import Vocabulary

/// The thread that owns the policy: takes events, asks for plans, carries them out.
final class SchedulerThread: Sendable {
  /// Something to find out of the policy; nil once it decides no more.
  typealias Question = @Sendable ((any Policy)?) -> Void

  private struct Mailbox {
    var events: [Event] = []
    var questions: [Question] = []
    var isStopping = false
  }

  private let mailbox = Lock(Mailbox())
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

  func post(_ event: Event) { mailbox.notify { $0.events.append(event) } }

  /// Has a question answered on the thread, between two events.
  func ask(_ question: @escaping Question) {
    let isTaken = mailbox.notify { mailbox in
      if !mailbox.isStopping { mailbox.questions.append(question) }
      return !mailbox.isStopping
    }
    if !isTaken { question(nil) }
  }

  func stop() {
    mailbox.notify { $0.isStopping = true }
    thread.withLock { $0 }?.join()
  }

  private func run(_ initial: any Policy, _ carryOut: (inout Plan) -> Void) {
    var policy = initial
    var plan = Plan()
    var received = Mailbox()
    while !received.isStopping {
      receive(into: &received, until: plan.wakeAt)
      for event in received.events {
        policy.step(event, at: Instant(nanoseconds: Clock.nanoseconds), into: &plan)
        carryOut(&plan)
      }
      for question in received.questions { question(policy) }
    }
  }

  /// Waits for events; a tick stands for the moment that the last plan asked for.
  private func receive(into received: inout Mailbox, until moment: Instant?) {
    received.events.removeAll(keepingCapacity: true)
    received.questions.removeAll()
    func take(_ waiting: inout Mailbox) -> Bool? {
      guard !waiting.events.isEmpty || !waiting.questions.isEmpty || waiting.isStopping else {
        return nil
      }
      swap(&waiting.events, &received.events)
      swap(&waiting.questions, &received.questions)
      received.isStopping = waiting.isStopping
      return true
    }
    guard let moment else {
      _ = mailbox.wait(take)
      return
    }
    if mailbox.wait(until: moment.nanoseconds, take) == nil { received.events.append(.tick) }
  }
}
