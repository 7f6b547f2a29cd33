import Glibc

/// What tells a state of a file from any other without reading it: place, size and times.
public struct FileStamp: Hashable, Sendable, CustomStringConvertible {
  /// The device, the inode, the size, and when contents and attributes changed last.
  public let description: String

  /// The stamp of a file whose status is known.
  init(path: String, _ status: stat) {
    let (modified, changed) = (status.st_mtim, status.st_ctim)
    description =
      "\(status.st_dev) \(status.st_ino) \(status.st_size) "
      + "\(modified.tv_sec).\(modified.tv_nsec) \(changed.tv_sec).\(changed.tv_nsec)"
  }

  /// The stamp of a file; nil when it cannot be asked for.
  public init?(path: String) {
    var status = stat()
    guard stat(path, &status) == 0 else { return nil }
    self.init(path: path, status)
  }
}
