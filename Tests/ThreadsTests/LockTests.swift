import Testing
import Threads

@Suite("Locks and threads")
struct LockTests {
  @Test("Increments from several threads are all there")
  func exclusion() {
    let counter = Lock(0)
    let threads = (0..<4).map { number in
      Thread("count-\(number)") {
        for _ in 0..<10_000 { counter.withLock { $0 += 1 } }
      }
    }
    for thread in threads { thread.join() }
    #expect(counter.withLock { $0 } == 40_000)
  }

  @Test("A waiting thread sees the value it waits for")
  func waiting() {
    let stage = Lock(0)
    let thread = Thread("answer") {
      stage.wait { $0 == 1 ? () : nil }
      stage.notify { $0 = 2 }
    }
    stage.notify { $0 = 1 }
    stage.wait { $0 == 2 ? () : nil }
    thread.join()
    #expect(stage.withLock { $0 } == 2)
  }

  @Test("Waiting until a moment ends without an answer when nothing happens")
  func waitingInVain() {
    let nothing = Lock<Int?>(nil)
    #expect(nothing.wait(until: Clock.nanoseconds + 1_000_000) { $0 } == nil)
  }
}
