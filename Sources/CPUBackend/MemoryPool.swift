import Backend
import Glibc
import Threads
import Vocabulary

/// Memory for activations and scratch, used by one batch after another.
///
/// Fresh memory is dear: a page fault every 4 KiB took as long as a tenth of ResNet-50 with eight
/// samples. So what is given back is kept, as long as all together is little more than was once in
/// use at the same time. Blocks are cut from one range of addresses, the lowest that is free, and
/// join their neighbours when they come back: memory is used again whatever the sizes are.
final class MemoryPool: Sendable {
  /// Memory from a page border on; it goes back to the pool with its last reference.
  final class Block: @unchecked Sendable {
    // Unchecked: whoever took it from the pool has it alone.
    let base: UnsafeMutableRawPointer
    let byteCount: Int
    private let pool: MemoryPool

    fileprivate init(_ base: UnsafeMutableRawPointer, _ byteCount: Int, _ pool: MemoryPool) {
      (self.base, self.byteCount, self.pool) = (base, byteCount, pool)
    }

    deinit { pool.give(base, byteCount) }
  }

  private let state: Lock<Arena>

  /// A pool that keeps nothing yet.
  ///
  /// - Parameter frames: Where memory that is too much goes, and where more is had from.
  init(_ frames: PageFrames = PageFrames()) { state = Lock(Arena(frames)) }

  /// Takes memory of at least so many bytes, of what is kept where it fits.
  ///
  /// Ends the process where the operating system has no addresses left.
  func take(byteCount: Int) -> Block {
    let bytes = (max(byteCount, 1) + Arena.page - 1) & ~(Arena.page - 1)
    let base = state.withLock { $0.take(bytes) }
    guard let base else {
      fatalError("The operating system refuses \(bytes) bytes of addresses for activations.")
    }
    return Block(base, bytes, self)
  }

  private func give(_ base: UnsafeMutableRawPointer, _ byteCount: Int) {
    state.withLock { $0.give(base, byteCount) }
  }

  /// Sets how much is in use or kept at most: what is kept beyond that goes.
  func limit(to bytes: Int) {
    state.withLock { arena in
      arena.most = bytes
      arena.shrink()
    }
  }

  /// How much is in use, how much is kept, and how much was in use at most.
  var use: WorkingMemory {
    state.withLock {
      WorkingMemory(
        used: ByteCount($0.usedBytes), idle: ByteCount($0.idleBytes), peak: ByteCount($0.peakBytes))
    }
  }

  deinit { state.withLock { $0.unmap() } }
}

/// Ranges of addresses: which are free, and which of those hold no memory.
private struct Arena: @unchecked Sendable {
  // Unchecked: addresses only; a pool keeps it behind its lock.

  static let page = 4096
  /// Memory comes and goes in huge pages: their faults are rare, and translations fewer.
  private static let hugePage = PageFrames.frameBytes

  /// Addresses got from the operating system, and how many bytes of each may be used so far.
  private var regions: [(base: UnsafeMutableRawPointer, byteCount: Int, open: Int)] = []
  /// Addresses that nobody has taken.
  private var free = AddressRanges()
  /// Whole huge pages that hold no memory, all of them free.
  private var absent = AddressRanges()
  /// Bytes of all regions that may be used so far.
  private var openBytes = 0
  private(set) var usedBytes = 0
  private(set) var peakBytes = 0
  var most = Int.max
  private let frames: PageFrames

  init(_ frames: PageFrames) { self.frames = frames }

  var idleBytes: Int { openBytes - absent.count - usedBytes }

  mutating func take(_ bytes: Int) -> UnsafeMutableRawPointer? {
    guard let start = free.lowest(bytes) ?? open(bytes),
      let base = UnsafeMutableRawPointer(bitPattern: start)
    else { return nil }
    free.remove(start..<start + bytes)
    fill(start..<start + bytes)
    usedBytes += bytes
    peakBytes = max(peakBytes, usedBytes)
    AddressSanitizer.allow(base, bytes)
    shrink()
    return base
  }

  mutating func give(_ base: UnsafeMutableRawPointer, _ bytes: Int) {
    AddressSanitizer.forbid(base, bytes)
    let start = Int(bitPattern: base)
    free.insert(start..<start + bytes)
    usedBytes -= bytes
    shrink()
  }

  /// Has memory in the huge pages of a range: left by others where there is some, otherwise fresh
  /// when it is touched.
  private mutating func fill(_ range: Range<Int>) {
    guard !absent.isEmpty else { return }
    let huge = Self.hugePage
    let pages = range.lowerBound & ~(huge - 1)..<(range.upperBound + huge - 1) & ~(huge - 1)
    for part in absent.parts(of: pages) {
      for page in stride(from: part.lowerBound, to: part.upperBound, by: huge) {
        if let frame = UnsafeMutableRawPointer(bitPattern: page) { frames.give(to: frame) }
      }
    }
    absent.remove(pages)
  }

  /// Opens more addresses; returns where so many bytes are free now.
  private mutating func open(_ bytes: Int) -> Int? {
    if regions.last.map({ $0.byteCount - $0.open < bytes }) ?? true {
      guard reserve(bytes) else { return nil }
    }
    let last = regions.count - 1
    let (base, end) = (regions[last].base, Int(bitPattern: regions[last].base) + regions[last].open)
    let tail = free.ranges.last.map { $0.upperBound == end ? $0.count : 0 } ?? 0
    let more = (bytes - tail + Self.hugePage - 1) & ~(Self.hugePage - 1)
    guard mprotect(base + regions[last].open, more, PROT_READ | PROT_WRITE) == 0 else { return nil }
    regions[last].open += more
    openBytes += more
    free.insert(end..<end + more)
    absent.insert(end..<end + more)
    return free.lowest(bytes)
  }

  /// Gets addresses without memory: as many as the machine could ever back, or fewer where a limit
  /// forbids that.
  private mutating func reserve(_ bytes: Int) -> Bool {
    let huge = Self.hugePage
    let least = (bytes + huge - 1) & ~(huge - 1)
    var wanted = max(sysconf(Int32(_SC_PHYS_PAGES)) * Self.page * 2 & ~(huge - 1), least)
    while true {
      let address = mmap(
        nil, wanted + huge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
      if let address, address != MAP_FAILED {
        let skipped = -Int(bitPattern: address) & (huge - 1)
        if skipped > 0 { munmap(address, skipped) }
        if skipped < huge { munmap(address + skipped + wanted, huge - skipped) }
        madvise(address + skipped, wanted, MADV_HUGEPAGE)
        regions.append((address + skipped, wanted, 0))
        return true
      }
      guard wanted > least else { return false }
      wanted = max(wanted / 2 & ~(huge - 1), least)
    }
  }

  /// Lets go of what is too much of the memory that nobody uses, the highest addresses first.
  mutating func shrink() {
    let limit = max(min(peakBytes + peakBytes / 4, most) - usedBytes, 0)
    var surplus = idleBytes - limit
    guard surplus > 0 else { return }
    let huge = Self.hugePage
    for range in free.ranges.reversed() {
      let lower = (range.lowerBound + huge - 1) & ~(huge - 1)
      let upper = range.upperBound & ~(huge - 1)
      guard lower < upper else { continue }
      for part in absent.gaps(in: lower..<upper).reversed() {
        let bytes = min(part.count, (surplus + huge - 1) & ~(huge - 1))
        let start = part.upperBound - bytes
        for page in stride(from: start, to: part.upperBound, by: huge) {
          if let frame = UnsafeMutableRawPointer(bitPattern: page) { frames.keep(frame) }
        }
        absent.insert(start..<part.upperBound)
        surplus -= bytes
        if surplus <= 0 { return }
      }
    }
  }

  mutating func unmap() {
    for region in regions {
      frames.forget(UnsafeMutableRawBufferPointer(start: region.base, count: region.open))
      AddressSanitizer.allow(region.base, region.open)
      munmap(region.base, region.byteCount)
    }
    regions = []
  }
}

/// Tells the address sanitizer, where a program is built with it, which memory is nobody's.
private enum AddressSanitizer {
  private typealias Mark = @convention(c) (UnsafeRawPointer, Int) -> Void

  private static let poison = symbol("__asan_poison_memory_region")
  private static let unpoison = symbol("__asan_unpoison_memory_region")

  private static func symbol(_ name: String) -> Mark? {
    dlsym(nil, name).map { unsafeBitCast($0, to: Mark.self) }
  }

  static func forbid(_ base: UnsafeMutableRawPointer, _ bytes: Int) { poison?(base, bytes) }
  static func allow(_ base: UnsafeMutableRawPointer, _ bytes: Int) { unpoison?(base, bytes) }
}
