import Glibc
import Models

/// A file of packed weights.
///
/// Written under a temporary name, synced and renamed, so that whoever finds it finds all of it.
final class PackedFile: Sendable {
  /// The name under which it is or will be found.
  let path: String
  let descriptor: Int32
  /// Written bytes go to the disk in portions, so that those that wait take little memory.
  private static let portion = 16 << 20

  private init(path: String, descriptor: Int32) {
    self.path = path
    self.descriptor = descriptor
  }

  deinit { close(descriptor) }

  private static func reason() -> String { String(cString: strerror(errno)) }

  private static func partial(_ path: String) -> String { path + ".partial" }

  // MARK: Writing

  /// An empty file under a temporary name.
  ///
  /// - Throws: `ModelError`, when it cannot be made.
  static func create(_ path: String) throws(ModelError) -> PackedFile {
    let descriptor = Glibc.open(partial(path), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else {
      throw ModelError(
        "Packed weights cannot be written to '\(path)': \(reason()). Name another folder with "
          + "--cache.")
    }
    return PackedFile(path: path, descriptor: descriptor)
  }

  /// Writes bytes of the data; they need not stay in memory.
  ///
  /// - Throws: `ModelError`, when the disk is full.
  func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(ModelError) {
    for start in stride(from: 0, to: bytes.count, by: Self.portion) {
      let part = bytes[start..<min(start + Self.portion, bytes.count)]
      try put(UnsafeRawBufferPointer(rebasing: part), at: offset + start)
      guard part.count == Self.portion else { continue }
      guard fdatasync(descriptor) == 0 else { throw failure() }
      posix_fadvise(descriptor, 0, offset + start + part.count, POSIX_FADV_DONTNEED)
    }
  }

  func resize(to bytes: Int) throws(ModelError) {
    guard ftruncate(descriptor, bytes) == 0 else { throw failure() }
  }

  /// The hash of each page that was written.
  ///
  /// - Throws: `ModelError`, when they cannot be read again.
  func hashes(pages: Int) throws(ModelError) -> [UInt64] {
    var hashes: [UInt64] = []
    let pagesAtOnce = 256
    for first in stride(from: 0, to: pages, by: pagesAtOnce) {
      let count = min(pagesAtOnce, pages - first)
      guard
        let bytes = Self.read(
          descriptor, count * PackedTable.pageBytes, at: first * PackedTable.pageBytes)
      else { throw failure() }
      bytes.withUnsafeBytes { bytes in
        for page in 0..<count {
          let start = page * PackedTable.pageBytes
          hashes.append(
            XXH64.hash(
              UnsafeRawBufferPointer(rebasing: bytes[start..<start + PackedTable.pageBytes])))
        }
      }
      posix_fadvise(descriptor, 0, (first + count) * PackedTable.pageBytes, POSIX_FADV_DONTNEED)
    }
    return hashes
  }

  /// Writes the table and gives the file its name.
  ///
  /// - Throws: `ModelError`, when the disk does not take it.
  func finish(_ table: PackedTable) throws(ModelError) {
    let bytes = table.encoded()
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 8)
    defer { memory.deallocate() }
    memory.copyBytes(from: bytes)
    try put(UnsafeRawBufferPointer(memory), at: table.dataBytes)
    guard fsync(descriptor) == 0, rename(Self.partial(path), path) == 0 else { throw failure() }
    Self.syncFolder(of: path)
    posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED)
  }

  private func put(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(ModelError) {
    var done = 0
    while done < bytes.count {
      let part = UnsafeRawBufferPointer(rebasing: bytes[done...])
      let count = pwrite(descriptor, part.baseAddress, part.count, offset + done)
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw failure() }
      done += count
    }
  }

  /// Removes what was written so far.
  func discard() { unlink(Self.partial(path)) }

  /// Takes note of a use, for those who look for what nobody uses.
  func noteUse() { futimens(descriptor, nil) }

  /// Removes the file, so that the next load packs anew; who has it open can still read it.
  func remove() { unlink(path) }

  private func failure() -> ModelError {
    let reason = Self.reason()
    discard()
    return ModelError(
      "Packed weights cannot be written to '\(path)': \(reason). Make room there or name another "
        + "folder with --cache.")
  }

  private static func syncFolder(of path: String) {
    let folder = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
    let descriptor = Glibc.open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { return }
    fsync(descriptor)
    close(descriptor)
  }

  // MARK: Reading

  /// What changes whenever somebody writes to a file: its size and its times, in nanoseconds.
  struct Version: Equatable {
    var bytes: Int
    var modified: Int64
    var changed: Int64

    /// Whether it is so old that the next change must show in it: times of files tick slowly.
    var isSettled: Bool {
      var now = timespec()
      clock_gettime(CLOCK_REALTIME, &now)
      return now.nanoseconds - max(modified, changed) > 2_000_000_000
    }
  }

  /// The version that is on the disk now; nil where the file system does not say.
  var version: Version? {
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { return nil }
    return Version(
      bytes: Int(status.st_size), modified: status.st_mtim.nanoseconds,
      changed: status.st_ctim.nanoseconds)
  }

  /// A file that was finished, with its table; nil when there is none that is whole.
  static func open(existing path: String) -> (PackedFile, PackedTable)? {
    let descriptor = Glibc.open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    var status = stat()
    guard fstat(descriptor, &status) == 0,
      let trailer = read(
        descriptor, PackedTable.trailerBytes, at: Int(status.st_size) - PackedTable.trailerBytes),
      let sizes = PackedTable.sizes(trailer: trailer, fileBytes: Int(status.st_size)),
      let bytes = read(descriptor, sizes.table + PackedTable.trailerBytes, at: sizes.data),
      let table = PackedTable(bytes, dataBytes: sizes.data)
    else {
      close(descriptor)
      return nil
    }
    return (PackedFile(path: path, descriptor: descriptor), table)
  }

  private static func read(_ descriptor: Int32, _ count: Int, at offset: Int) -> [UInt8]? {
    guard offset >= 0 else { return nil }
    var bytes = [UInt8](repeating: 0, count: count)
    var done = 0
    while done < count {
      let got = bytes.withUnsafeMutableBytes {
        pread(descriptor, $0.baseAddress.map { $0 + done }, count - done, offset + done)
      }
      if got < 0, errno == EINTR { continue }
      guard got > 0 else { return nil }
      done += got
    }
    return bytes
  }
}

extension timespec {
  fileprivate var nanoseconds: Int64 { Int64(tv_sec) * 1_000_000_000 + Int64(tv_nsec) }
}
