import Backend
import Glibc
import Threads
import Vocabulary

/// Memory for activations and scratch, used by one batch after another.
///
/// Fresh memory costs a page fault every 4 KiB: for ResNet-50 with eight samples these took longer
/// than the convolutions. So what is given back is kept, as long as all together is little more
/// than was once in use at the same time.
final class MemoryPool: Sendable {
  /// Memory from a page border on; it goes back to the pool with its last reference.
  final class Block: @unchecked Sendable {
    // Unchecked: whoever took it from the pool has it alone.
    let base: UnsafeMutableRawPointer
    let byteCount: Int
    private let pool: MemoryPool

    fileprivate init(_ extent: Extent, _ pool: MemoryPool) {
      (base, byteCount, self.pool) = (extent.base, extent.byteCount, pool)
    }

    deinit { pool.give(Extent(base: base, byteCount: byteCount)) }
  }

  fileprivate struct Extent: @unchecked Sendable {
    // Unchecked: owned by the pool or by one block.
    let base: UnsafeMutableRawPointer
    let byteCount: Int

    init(base: UnsafeMutableRawPointer, byteCount: Int) {
      (self.base, self.byteCount) = (base, byteCount)
    }

    /// Fresh memory; from 16 MiB on in huge pages.
    init(byteCount: Int) {
      let page = byteCount < 16 << 20 ? 4096 : 2 << 20
      self.byteCount = (max(byteCount, 1) + page - 1) & ~(page - 1)
      base = .allocate(byteCount: self.byteCount, alignment: page)
      if page > 4096 { madvise(base, self.byteCount, MADV_HUGEPAGE) }
    }
  }

  private struct State {
    /// Given back longest ago first.
    var idle: [Extent] = []
    var idleBytes = 0
    var usedBytes = 0
    var peakBytes = 0
    var mostIdle = Int.max
  }

  private let state = Lock(State())

  /// Takes memory of at least so many bytes, of what is kept where something fits.
  ///
  /// - Parameter isBrief: Whether it is given back before anybody else could miss what it has too
  ///   much: then any that is large enough will do.
  func take(byteCount: Int, isBrief: Bool = false) -> Block {
    let kept = state.withLock { state -> Extent? in
      let most = isBrief ? Int.max : byteCount + byteCount / 2 + 4096
      let fitting = state.idle.indices.filter {
        state.idle[$0].byteCount >= byteCount && state.idle[$0].byteCount <= most
      }
      let best = fitting.min { state.idle[$0].byteCount < state.idle[$1].byteCount }
      return best.map { state.idle.remove(at: $0) }
    }
    let extent = kept ?? Extent(byteCount: byteCount)
    let surplus = state.withLock { state in
      if kept != nil { state.idleBytes -= extent.byteCount }
      state.usedBytes += extent.byteCount
      state.peakBytes = max(state.peakBytes, state.usedBytes)
      return Self.shrink(&state)
    }
    for extent in surplus { extent.base.deallocate() }
    return Block(extent, self)
  }

  private func give(_ extent: Extent) {
    let surplus = state.withLock { state in
      state.usedBytes -= extent.byteCount
      state.idleBytes += extent.byteCount
      state.idle.append(extent)
      return Self.shrink(&state)
    }
    for extent in surplus { extent.base.deallocate() }
  }

  private static func shrink(_ state: inout State) -> [Extent] {
    var surplus: [Extent] = []
    // Without some room small blocks of new sizes would push out the large ones.
    let limit = state.peakBytes + state.peakBytes / 4
    while state.idleBytes > min(limit - state.usedBytes, state.mostIdle), !state.idle.isEmpty {
      let oldest = state.idle.removeFirst()
      state.idleBytes -= oldest.byteCount
      surplus.append(oldest)
    }
    return surplus
  }

  /// Sets how much is kept at most although nobody uses it.
  func keepIdle(atMost bytes: Int) {
    let surplus = state.withLock { state in
      state.mostIdle = bytes
      return Self.shrink(&state)
    }
    for extent in surplus { extent.base.deallocate() }
  }

  /// How much is in use, how much is kept, and how much was in use at most.
  var use: WorkingMemory {
    state.withLock {
      WorkingMemory(
        used: ByteCount($0.usedBytes), idle: ByteCount($0.idleBytes), peak: ByteCount($0.peakBytes))
    }
  }

  deinit {
    for extent in state.withLock({ $0.idle }) { extent.base.deallocate() }
  }
}
