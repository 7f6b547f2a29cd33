import Glibc
import Synchronization

/// Memory under tensors: its own, a slice of a mapped file, or bytes that can be made at any time.
public final class TensorStorage: @unchecked Sendable {
  // Unchecked: the bytes are written only by the code that makes the storage, before it is shared.

  private enum Origin {
    /// Memory of its own, for as long as the storage lives.
    case own
    /// Someone else's memory.
    case borrowed(AnyObject)
    /// A copy of someone else's bytes, which lie misaligned; made when it is asked for.
    case aligned(UnsafeRawPointer, AnyObject)
    /// What a closure writes, reading other memory; made when it is asked for.
    case computed([TensorStorage], @Sendable (UnsafeMutableRawPointer) -> Void)
  }

  /// The bytes that may be read.
  public let byteCount: Int
  private let origin: Origin
  /// The first byte as a number; 0 while the bytes are not made.
  private let address: Atomic<UInt>
  /// From this size on memory is mapped, so that the kernel zeroes a page when it is first used
  /// and a tensor that is filled at once is not written twice.
  private static let mappedFrom = 1 << 20

  private init(_ origin: Origin, byteCount: Int, at base: UnsafeMutableRawPointer?) {
    self.origin = origin
    self.byteCount = byteCount
    address = Atomic(UInt(bitPattern: base))
  }

  /// Zeroed memory, aligned to 64 bytes.
  public convenience init(byteCount: Int) {
    self.init(.own, byteCount: byteCount, at: Self.allocate(byteCount))
  }

  /// Memory that belongs to someone else and is only read.
  public convenience init(
    borrowing base: UnsafeRawPointer, byteCount: Int, from owner: AnyObject
  ) {
    self.init(
      .borrowed(owner), byteCount: byteCount, at: UnsafeMutableRawPointer(mutating: base))
  }

  /// Memory that belongs to someone else, is only read, and lies misaligned for its elements:
  /// copied when somebody needs them aligned.
  public convenience init(
    aligning bytes: UnsafeRawPointer, byteCount: Int, from owner: AnyObject
  ) {
    self.init(.aligned(bytes, owner), byteCount: byteCount, at: nil)
  }

  /// Bytes that a closure writes into zeroed memory whenever they are needed and not there: the
  /// same bytes each time, from what it reads of others.
  public convenience init(
    byteCount: Int, from others: [TensorStorage],
    computing fill: @escaping @Sendable (UnsafeMutableRawPointer) -> Void
  ) {
    self.init(.computed(others, fill), byteCount: byteCount, at: nil)
  }

  deinit {
    if case .borrowed = origin { return }
    free()
  }

  /// The first byte, aligned for the elements.
  public var base: UnsafeMutableRawPointer {
    UnsafeMutableRawPointer(bitPattern: address.load(ordering: .acquiring)) ?? made()
  }

  /// The first byte as it lies, perhaps misaligned: enough for copying.
  public var source: UnsafeRawPointer {
    if case .aligned(let bytes, _) = origin { return bytes }
    return UnsafeRawPointer(base)
  }

  /// Lets go of memory whose bytes can be had again; nobody may be reading them.
  public func letGo() {
    switch origin {
    case .own: break
    case .borrowed(let owner): (owner as? MappedFile)?.letGo(source, byteCount)
    case .aligned(let bytes, let owner):
      free()
      (owner as? MappedFile)?.letGo(bytes, byteCount)
    case .computed(let others, _):
      free()
      for other in others { other.letGo() }
    }
  }

  /// Makes the bytes; of threads that do so at the same time the first one's count.
  private func made() -> UnsafeMutableRawPointer {
    let memory = Self.allocate(byteCount)
    switch origin {
    case .aligned(let bytes, _): memory.copyMemory(from: bytes, byteCount: byteCount)
    case .computed(_, let fill): fill(memory)
    case .own, .borrowed: break
    }
    let other = address.compareExchange(
      expected: 0, desired: UInt(bitPattern: memory), ordering: .acquiringAndReleasing)
    guard !other.exchanged, let first = UnsafeMutableRawPointer(bitPattern: other.original) else {
      return memory
    }
    Self.free(memory, byteCount)
    return first
  }

  private func free() {
    let memory = address.exchange(0, ordering: .acquiringAndReleasing)
    Self.free(UnsafeMutableRawPointer(bitPattern: memory), byteCount)
  }

  // MARK: Memory

  private static func allocate(_ byteCount: Int) -> UnsafeMutableRawPointer {
    if byteCount >= mappedFrom {
      let memory = mmap(
        nil, byteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
      guard let memory, memory != MAP_FAILED else { refuse(byteCount) }
      // Only advice: without huge pages the kernel zeroes small ones.
      madvise(memory, byteCount, MADV_HUGEPAGE)
      return memory
    }
    var memory: UnsafeMutableRawPointer?
    guard posix_memalign(&memory, 64, max(byteCount, 64)) == 0, let memory else {
      refuse(byteCount)
    }
    memset(memory, 0, max(byteCount, 64))
    return memory
  }

  private static func free(_ memory: UnsafeMutableRawPointer?, _ byteCount: Int) {
    guard let memory else { return }
    if byteCount >= mappedFrom {
      munmap(memory, byteCount)
    } else {
      Glibc.free(memory)
    }
  }

  private static func refuse(_ byteCount: Int) -> Never {
    fatalError("\(byteCount) bytes of memory for a tensor could not be had.")
  }
}
