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

  /// Zeroed memory, aligned to 64 bytes.
  public init(byteCount: Int) {
    self.byteCount = byteCount
    var memory: UnsafeMutableRawPointer?
    guard posix_memalign(&memory, 64, max(byteCount, 64)) == 0, let memory else {
      fatalError("\(byteCount) bytes of memory for a tensor could not be had.")
    }
    base = memory
    memset(base, 0, max(byteCount, 64))
    owner = nil
  }

  /// Memory that belongs to someone else and is only read.
  public init(borrowing base: UnsafeRawPointer, byteCount: Int, from owner: AnyObject) {
    self.base = UnsafeMutableRawPointer(mutating: base)
    self.byteCount = byteCount
    self.owner = owner
  }

  deinit {
    if owner == nil { free(base) }
  }
}
