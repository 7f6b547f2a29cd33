import Backend
import CLinux
import Glibc
import Models

/// Addresses for the bytes of a packed file, which come into memory and leave it again.
///
/// Read past the page cache into memory of the process: that leaves no second copy in the machine,
/// takes large pages, and eviction costs next to nothing. See
/// `Documentation/Decisions/paging-without-page-cache.md` for what was measured.
final class WeightMemory: @unchecked Sendable {
  // Unchecked: bytes come and go only while no kernel reads them.

  /// How bytes get to their addresses.
  enum Source: Sendable {
    /// By reading, when they are told to come in, into frames that others have left where there are
    /// any; until then nothing of use is there.
    case read(PageFrames)
    /// From a mapping of the file: whatever is touched comes in by itself.
    case mapping
  }

  /// The first address.
  let base: UnsafeMutableRawPointer
  /// Bytes that have addresses.
  let byteCount: Int
  let source: Source
  private let file: PackedFile
  /// The same file, read past the page cache where its file system can.
  private let direct: Int32
  private let reserved: UnsafeMutableRawPointer
  private let reservedBytes: Int

  private static let largePage = PageFrames.frameBytes
  /// Large enough that the disk is busy, small enough that a batch need not wait long for others.
  private static let readBytes = 4 << 20

  /// - Throws: `ModelError`, when there are no addresses left.
  init(_ file: PackedFile, byteCount: Int, _ source: Source) throws(ModelError) {
    self.file = file
    self.source = source
    self.byteCount = max(byteCount, PackedTable.pageBytes)
    reservedBytes = self.byteCount + Self.largePage
    let memory =
      switch source {
      case .mapping: mmap(nil, reservedBytes, PROT_READ, MAP_SHARED, file.descriptor, 0)
      case .read:
        mmap(
          nil, reservedBytes, PROT_READ | PROT_WRITE,
          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
      }
    guard let memory, memory != MAP_FAILED else {
      throw ModelError(
        "The packed weights '\(file.path)' find no addresses: "
          + "\(String(cString: strerror(errno))).")
    }
    reserved = memory
    direct = stowage_reopen_direct(file.descriptor)
    guard case .read = source else {
      base = memory
      return
    }
    let mask = Self.largePage - 1
    base = memory + (-Int(bitPattern: memory) & mask)
    // Where large pages are given to everyone, a small layer would take the room of a large one.
    madvise(reserved, reservedBytes, MADV_NOHUGEPAGE)
  }

  deinit {
    if case .read(let frames) = source {
      frames.forget(UnsafeMutableRawBufferPointer(start: reserved, count: reservedBytes))
    }
    munmap(reserved, reservedBytes)
    if direct >= 0 { close(direct) }
  }

  /// Lets a stretch of the file that comes in as a whole have large pages where it fills them.
  func useLargePages(in range: Range<Int>) {
    guard case .read = source else { return }
    let mask = Self.largePage - 1
    let begin = (range.lowerBound + mask) & ~mask
    let end = range.upperBound & ~mask
    if end > begin { madvise(base + begin, end - begin, MADV_HUGEPAGE) }
  }

  /// Brings bytes into memory: ranges of several layers, each of which begins where the one before
  /// ends.
  ///
  /// - Throws: `ModelError`, when the file is shorter than it was or cannot be read.
  func pageIn(_ ranges: [Range<Int>]) throws(ModelError) {
    guard let first = ranges.first, let last = ranges.last else { return }
    let whole = first.lowerBound..<last.upperBound
    switch source {
    case .mapping: try populate(whole)
    case .read(let frames):
      // A frame is of one layer, so that it can go when the layer goes.
      var emptyFrames = ranges.flatMap(Self.frames)[...]
      for start in stride(from: whole.lowerBound, to: whole.upperBound, by: Self.readBytes) {
        let piece = start..<min(start + Self.readBytes, whole.upperBound)
        while let frame = emptyFrames.first, frame < piece.upperBound {
          frames.give(to: base + frame)
          emptyFrames.removeFirst()
        }
        try read(piece)
      }
    }
  }

  /// Where the large pages that lie wholly in a range begin.
  private static func frames(in range: Range<Int>) -> [Int] {
    let first = (range.lowerBound + largePage - 1) & ~(largePage - 1)
    return Array(stride(from: first, through: range.upperBound - largePage, by: largePage))
  }

  private func read(_ range: Range<Int>) throws(ModelError) {
    var start = range.lowerBound
    let descriptor = direct >= 0 ? direct : file.descriptor
    while start < range.upperBound {
      let count = pread(descriptor, base + start, range.upperBound - start, start)
      if count < 0, errno == EINTR { continue }
      guard count > 0 else {
        throw unreadable(count == 0 ? "it ends too early" : String(cString: strerror(errno)))
      }
      start += count
    }
    if direct < 0 {
      posix_fadvise(file.descriptor, range.lowerBound, range.count, POSIX_FADV_DONTNEED)
    }
  }

  private func populate(_ range: Range<Int>) throws(ModelError) {
    // Read ahead in large pieces first: populating alone reads page by page.
    madvise(base + range.lowerBound, range.count, MADV_WILLNEED)
    while madvise(base + range.lowerBound, range.count, MADV_POPULATE_READ) != 0 {
      if errno == EINTR || errno == EAGAIN { continue }
      throw unreadable(String(cString: strerror(errno)))
    }
  }

  private func unreadable(_ reason: String) -> ModelError {
    ModelError(
      "Its packed weights cannot be read: \(reason). They are packed anew; ask again soon.")
  }

  /// Lets bytes go; nobody may be reading them.
  func evict(_ range: Range<Int>) {
    guard !range.isEmpty else { return }
    switch source {
    case .read(let frames):
      let whole = Self.frames(in: range)
      for frame in whole { frames.keep(base + frame) }
      let first = whole.first ?? range.upperBound
      let last = whole.last.map { $0 + Self.largePage } ?? range.upperBound
      for rest in [range.lowerBound..<first, last..<range.upperBound] where !rest.isEmpty {
        madvise(base + rest.lowerBound, rest.count, MADV_DONTNEED)
      }
    case .mapping:
      madvise(base + range.lowerBound, range.count, MADV_PAGEOUT)
      madvise(base + range.lowerBound, range.count, MADV_DONTNEED)
      posix_fadvise(file.descriptor, range.lowerBound, range.count, POSIX_FADV_DONTNEED)
    }
  }

  /// The hash of a page that is in memory.
  func hash(page: Int) -> UInt64 {
    XXH64.hash(
      UnsafeRawBufferPointer(
        start: base + page * PackedTable.pageBytes, count: PackedTable.pageBytes))
  }
}
