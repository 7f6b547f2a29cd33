import Glibc

/// A file mapped read-only; tensors that borrow from it keep it alive.
///
/// The file must not shrink while it is mapped.
public final class MappedFile: @unchecked Sendable {
  // Unchecked: the bytes are only ever read.

  /// The contents.
  public let bytes: UnsafeRawBufferPointer
  /// What tells this state of the file from others.
  public let stamp: FileStamp

  /// Maps a regular file.
  ///
  /// - Throws: `ModelError` with the system's reason, when the file cannot be opened or mapped.
  public init(path: String) throws(ModelError) {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else {
      throw ModelError("The file '\(path)' cannot be opened: \(systemReason()).")
    }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      throw ModelError("'\(path)' is not a regular file.")
    }
    stamp = FileStamp(path: path, status)
    let size = Int(status.st_size)
    guard size > 0 else {
      bytes = UnsafeRawBufferPointer(start: nil, count: 0)
      return
    }
    guard let base = mmap(nil, size, PROT_READ, MAP_PRIVATE, descriptor, 0), base != MAP_FAILED
    else { throw ModelError("The file '\(path)' cannot be mapped: \(systemReason()).") }
    bytes = UnsafeRawBufferPointer(start: base, count: size)
  }

  /// Lets pages leave memory until they are read again.
  func letGo(_ first: UnsafeRawPointer, _ byteCount: Int) {
    guard byteCount > 0 else { return }
    let mask = UInt(sysconf(Int32(_SC_PAGESIZE))) - 1
    let start = UInt(bitPattern: first) & ~mask
    let count = Int(UInt(bitPattern: first) + UInt(byteCount) - start)
    madvise(UnsafeMutableRawPointer(bitPattern: start), count, MADV_DONTNEED)
  }

  deinit {
    if let base = bytes.baseAddress {
      munmap(UnsafeMutableRawPointer(mutating: base), bytes.count)
    }
  }
}

/// What the last failed system call of this thread says.
private func systemReason() -> String { String(cString: strerror(errno)) }
