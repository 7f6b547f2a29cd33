import CLinux
import Glibc
import Threads

/// Memory that nobody uses and that stays where it is until something else needs it: what evicted
/// weights and finished batches leave, the next weights and batches take over.
///
/// The kernel zeroes fresh memory, and in a virtual machine it may have to ask the host for it.
/// Reading weights into fresh memory took 0.13 to 0.17 CPU seconds per GB and came to 1.4 GB/s;
/// into memory moved from elsewhere 0.01 and 1.9
/// (Documentation/Decisions/paging-without-page-cache.md).
public final class PageFrames: Sendable {
  /// Bytes of one frame: a large page, which moves by one entry of the page table.
  public static let frameBytes = 2 << 20

  private struct State {
    /// Addresses of the frames in the order in which they came, each once; those that have left
    /// since are in `order` still, but not in `there`.
    var order: [UInt] = []
    var first = 0
    var there: Set<UInt> = []
  }

  private let state = Lock(State())

  /// No frames.
  public init() {}

  /// Bytes of all frames.
  public var byteCount: Int { state.withLock { $0.there.count } * Self.frameBytes }

  /// Takes over the memory at the addresses of an aligned frame, which nobody touches until it is
  /// given back there.
  public func keep(_ frame: UnsafeMutableRawPointer) {
    state.withLock { state in
      let address = UInt(bitPattern: frame)
      guard state.there.insert(address).inserted else { return }
      state.order.append(address)
      guard state.order.count > 2 * state.there.count + 1024 else { return }
      // Frames that left otherwise than from the front.
      var seen: Set<UInt> = []
      state.order = state.order[state.first...].filter {
        state.there.contains($0) && seen.insert($0).inserted
      }
      state.first = 0
    }
  }

  /// Puts memory at the addresses of an aligned frame, with whatever is in it.
  ///
  /// - Returns: False when there is none: the frame is as it was.
  @discardableResult
  public func give(to frame: UnsafeMutableRawPointer) -> Bool {
    state.withLock { state in
      if state.there.remove(UInt(bitPattern: frame)) != nil { return true }
      guard let other = Self.oldest(&state) else { return false }
      if stowage_move_pages(other, frame, Self.frameBytes) == 0 { return true }
      // The kernel has no room for one more mapping, or cannot move: fresh memory it is.
      madvise(other, Self.frameBytes, MADV_DONTNEED)
      return false
    }
  }

  /// Gives memory back to the machine until no more than some bytes are left.
  public func trim(to bytes: Int) {
    state.withLock { state in
      while state.there.count * Self.frameBytes > max(bytes, 0),
        let frame = Self.oldest(&state)
      {
        madvise(frame, Self.frameBytes, MADV_DONTNEED)
      }
    }
  }

  /// Forgets the frames in a range of addresses that goes away.
  public func forget(_ range: UnsafeMutableRawBufferPointer) {
    guard let base = range.baseAddress else { return }
    let addresses = UInt(bitPattern: base)..<UInt(bitPattern: base) + UInt(range.count)
    state.withLock { state in state.there = state.there.filter { !addresses.contains($0) } }
  }

  private static func oldest(_ state: inout State) -> UnsafeMutableRawPointer? {
    while state.first < state.order.count {
      let address = state.order[state.first]
      state.first += 1
      if state.there.remove(address) != nil { return UnsafeMutableRawPointer(bitPattern: address) }
    }
    return nil
  }
}
