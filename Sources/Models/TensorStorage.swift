import Glibc

/// Memory under tensors: its own, aligned to a cache line, or a slice of a mapped file.
public final class TensorStorage: @unchecked Sendable {
  // Unchecked: the bytes are written only by the code that makes the storage, before it is shared.

  /// The first byte.
  public let base: UnsafeMutableRawPointer
  /// The bytes that may be read.
  public let byteCount: Int
  /// What keeps borrowed memory alive; nil when the storage owns its memory.
  private let owner: AnyObject?
  /// From this size on memory is mapped, so that the kernel zeroes a page when it is first used
  /// and a tensor that is filled at once is not written twice.
  private static let mappedFrom = 1 << 20

  /// Zeroed memory, aligned to 64 bytes.
  public init(byteCount: Int) {
    self.byteCount = byteCount
    owner = nil
    if byteCount >= Self.mappedFrom {
      let memory = mmap(
        nil, byteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
      guard let memory, memory != MAP_FAILED else { Self.refuse(byteCount) }
      // Only advice: without huge pages the kernel zeroes small ones.
      madvise(memory, byteCount, MADV_HUGEPAGE)
      base = memory
      return
    }
    var memory: UnsafeMutableRawPointer?
    guard posix_memalign(&memory, 64, max(byteCount, 64)) == 0, let memory else {
      Self.refuse(byteCount)
    }
    base = memory
    memset(base, 0, max(byteCount, 64))
  }

  /// Memory that belongs to someone else and is only read.
  public init(borrowing base: UnsafeRawPointer, byteCount: Int, from owner: AnyObject) {
    self.base = UnsafeMutableRawPointer(mutating: base)
    self.byteCount = byteCount
    self.owner = owner
  }

  deinit {
    guard owner == nil else { return }
    if byteCount >= Self.mappedFrom {
      munmap(base, byteCount)
    } else {
      free(base)
    }
  }

  private static func refuse(_ byteCount: Int) -> Never {
    fatalError("\(byteCount) bytes of memory for a tensor could not be had.")
  }
}
