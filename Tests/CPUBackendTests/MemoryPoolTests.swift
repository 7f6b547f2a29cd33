import Backend
import Testing
import Vocabulary

@testable import CPUBackend

@Suite("Memory that batches use one after another")
struct MemoryPoolTests {
  @Test("What is given back is taken again where it fits well")
  func reuse() {
    let pool = MemoryPool()
    let first = pool.take(byteCount: 1 << 20).base
    #expect(pool.take(byteCount: 1 << 20).base == first)
    #expect(pool.use.used == .zero)
    #expect(pool.use.idle == .mebibytes(1))
  }

  @Test("Only a brief user takes memory that is much too large")
  func briefUse() {
    let pool = MemoryPool()
    let large = pool.take(byteCount: 8 << 20).base
    #expect(pool.take(byteCount: 4096, isBrief: true).base == large)
    let small = pool.take(byteCount: 4096)
    #expect(small.base != large)
    #expect(small.byteCount == 4096)
  }

  @Test("What is kept stays near what was once in use together; the rest goes, oldest first")
  func limit() {
    let pool = MemoryPool()
    for megabytes in 1...64 { _ = pool.take(byteCount: megabytes << 20) }
    let use = pool.use
    #expect(use.used == .zero)
    #expect(use.idle >= .mebibytes(64))
    #expect(use.idle <= .mebibytes(80))
    #expect(use.peak == .mebibytes(64))
    pool.keepIdle(atMost: 0)
    #expect(pool.use.idle == .zero)
  }
}
