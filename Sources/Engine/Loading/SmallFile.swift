import Glibc

/// Files beside the packed weights that save time when they are there and whole.
enum SmallFile {
  /// The bytes of a file; nil where there is none, or one with that many bytes or more.
  static func read(_ path: String, below limit: Int) -> [UInt8]? {
    guard let file = fopen(path, "r") else { return nil }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var part = [UInt8](repeating: 0, count: 1 << 16)
    while case let count = fread(&part, 1, part.count, file), count > 0 {
      bytes += part[..<count]
      guard bytes.count < limit else { return nil }
    }
    return bytes
  }

  /// Puts a file in the place of another one, whole or not at all.
  static func replace(_ path: String, with bytes: [UInt8]) {
    let partial = path + ".partial"
    guard let file = fopen(partial, "w") else { return }
    let isWhole = fwrite(bytes, 1, bytes.count, file) == bytes.count
    if fclose(file) == 0, isWhole { rename(partial, path) } else { unlink(partial) }
  }
}
