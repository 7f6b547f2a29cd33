import Backend
import Testing
import Vocabulary

@testable import CPUBackend

@Suite("Memory that batches use one after another")
struct MemoryPoolTests {
  @Test("What is given back is taken again, whatever the size")
  func reuse() {
    let pool = MemoryPool()
    let first = pool.take(byteCount: 8 << 20).base
    #expect(pool.take(byteCount: 8 << 20).base == first)
    #expect(pool.take(byteCount: 1 << 20).base == first)
    #expect(pool.use.used == .zero)
    #expect(pool.use.idle == .mebibytes(8))
  }

  @Test("Neighbours that come back make room for what needs both")
  func joining() {
    let pool = MemoryPool()
    var blocks = (0..<4).map { _ in pool.take(byteCount: 1 << 20) }
    let base = blocks[0].base
    #expect(blocks.map { $0.base - base } == [0, 1, 2, 3].map { $0 << 20 })
    blocks.removeLast(2)
    #expect(pool.take(byteCount: 2 << 20).base == base + (2 << 20))
    blocks.removeAll()
    #expect(pool.take(byteCount: 4 << 20).base == base)
  }

  @Test("What is kept stays near what was once in use together; the rest goes")
  func limit() {
    let pool = MemoryPool()
    for megabytes in 1...64 {
      let block = pool.take(byteCount: megabytes << 20)
      block.base.storeBytes(of: 1, as: UInt8.self)
    }
    var use = pool.use
    #expect(use.used == .zero)
    #expect(use.idle == .mebibytes(64))
    #expect(use.peak == .mebibytes(64))
    pool.limit(to: 10 << 20)
    use = pool.use
    #expect(use.idle <= .mebibytes(10))
    #expect(use.idle >= .mebibytes(8))
    pool.limit(to: 0)
    #expect(pool.use.idle == .zero)
  }

  @Test("Blocks in use never overlap and keep what is written to them", arguments: 1...20)
  func blocksAreApart(seed: Int) {
    var random = UInt64(seed) &* 0x9E37_79B9_7F4A_7C15
    func draw(_ bound: Int) -> Int {
      random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(random >> 33) % bound
    }
    let pool = MemoryPool()
    var live: [(block: MemoryPool.Block, mark: UInt64)] = []
    for turn in 0..<500 {
      if draw(3) > 0 || live.isEmpty {
        let block = pool.take(byteCount: 1 << (8 + draw(16)))
        block.base.storeBytes(of: UInt64(turn), as: UInt64.self)
        block.base.storeBytes(
          of: UInt64(turn), toByteOffset: block.byteCount - 8, as: UInt64.self)
        live.append((block, UInt64(turn)))
      } else {
        live.remove(at: draw(live.count))
      }
      if draw(50) == 0 { pool.limit(to: draw(8 << 20)) }
      let used = live.reduce(0) { $0 + $1.block.byteCount }
      #expect(pool.use.used.bytes == used, "seed \(seed)")
      for (block, mark) in live {
        #expect(block.base.load(as: UInt64.self) == mark, "seed \(seed)")
        #expect(
          block.base.load(fromByteOffset: block.byteCount - 8, as: UInt64.self) == mark,
          "seed \(seed)")
      }
    }
  }
}
