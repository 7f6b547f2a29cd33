import Glibc

/// Packed weights of models that are gone, or of another build, stay in the folder: nobody can tell
/// whether another server will want them. So the folder has a limit, and what no start has used for
/// the longest goes first. A server that has such a file open reads on, and packs anew when it
/// starts the next time.
extension PackedFolder {
  /// The files of one model under one key.
  private struct Group {
    var path: String
    var byteCount: Int
    /// When a start used it last, in seconds since 1970.
    var lastUse: Int
  }

  /// Half of what the file system holds, where nothing else is asked for: a new build can pack
  /// everything once more before the files of the last one go.
  static func defaultLimit(of path: String) -> Int {
    var system = statvfs()
    guard statvfs(path, &system) == 0 else { return .max }
    let (bytes, overflow) = Int(clamping: system.f_blocks).multipliedReportingOverflow(
      by: Int(clamping: system.f_frsize))
    return overflow ? .max : bytes / 2
  }

  /// Removes what no start has used for the longest, until the folder keeps its limit, and what
  /// was begun and never finished.
  ///
  /// - Parameter used: The files in use, which stay.
  /// - Returns: The files that were removed.
  func trim(keeping used: Set<String>) -> [String] {
    let groups = files().map { file in
      removePartial(of: file)
      return Group(path: file, byteCount: Self.byteCount(file), lastUse: Self.lastUse(file))
    }
    var total = groups.reduce(0) { $0 + $1.byteCount }
    var removed: [String] = []
    for group in groups.sorted(by: { ($0.lastUse, $0.path) < ($1.lastUse, $1.path) })
    where total > limit && !used.contains(group.path) && remove(group.path) {
      total -= group.byteCount
      removed.append(group.path)
    }
    return removed
  }

  /// Whatever in the folder has the name of packed weights; other files are none of ours.
  private func files() -> [String] {
    let names = ModelFolder.names(in: path) ?? []
    return Set(names.compactMap(Self.stem(of:))).sorted().map { "\(path)/\($0)" }
  }

  private static let suffixes = [
    "", ".partial", ".costs", SheetFile.suffix, PrecisionFile.suffix,
  ]

  /// `NAME-VERSION-HASH.weights` of a name that may have more behind it.
  private static func stem(of name: String) -> String? {
    let suffix = (suffixes + [".lock"]).first { name.hasSuffix(".weights" + $0) }
    guard let suffix else { return nil }
    let stem = name.dropLast(suffix.count)
    let parts = stem.dropLast(".weights".count).split(separator: "-")
    guard parts.count > 2, let hash = parts.last, hash.count <= 16,
      hash.allSatisfy(\.isHexDigit)
    else { return nil }
    return String(stem)
  }

  private static func status(_ path: String) -> stat? {
    var status = stat()
    return stat(path, &status) == 0 ? status : nil
  }

  private static func byteCount(_ path: String) -> Int {
    suffixes.reduce(0) { $0 + (status(path + $1)?.st_size ?? 0) }
  }

  private static func lastUse(_ path: String) -> Int {
    suffixes.map { status(path + $0)?.st_mtim.tv_sec ?? 0 }.max() ?? 0
  }

  /// Whoever packs has the lock: what is there without one was left by a process that died.
  private func removePartial(of file: String) {
    guard Self.status(file + ".partial") != nil else { return }
    _ = withFreeLock(file) { unlink(file + ".partial") }
  }

  /// Removes a file with what lies beside it, unless somebody packs it now.
  @discardableResult
  func remove(_ file: String) -> Bool {
    withFreeLock(file) {
      let isRemoved = unlink(file) == 0 || errno == ENOENT
      guard isRemoved else { return false }
      unlink(file + ".costs")
      unlink(file + SheetFile.suffix)
      unlink(file + PrecisionFile.suffix)
      unlink(file + ".lock")
      return true
    } ?? false
  }
}
