import ArgumentParser
import Glibc
import Vocabulary

/// Where the memory budget comes from: the command line, a file, or the limits of this process.
enum MemoryLimit: ExpressibleByArgument {
  /// This much.
  case fixed(ByteCount)
  /// What a file says whenever it is asked, such as `@/etc/stowage/memory`.
  case file(String)
  /// What the control group or the machine allows, less what the process itself takes.
  case automatic

  /// What a limit counts beside the budget: code, and what the kernel keeps for the process.
  ///
  /// 32 MiB of code; of the 37 MB of the kernel that were seen 25 were pages of files, which it can
  /// drop.
  private static let process = ByteCount.mebibytes(64)

  init?(argument: String) {
    if argument == "auto" {
      self = .automatic
    } else if argument.hasPrefix("@"), argument.count > 1 {
      self = .file(String(argument.dropFirst()))
    } else if let bytes = ByteCount(text: argument), bytes > .zero {
      self = .fixed(bytes)
    } else {
      return nil
    }
  }

  /// The budget now.
  ///
  /// - Throws: `ValidationError`, when a file does not say a size.
  func bytes() throws -> ByteCount {
    switch self {
    case .fixed(let bytes): return bytes
    case .file(let path):
      guard let text = Self.firstLine(path), let bytes = ByteCount(text: text), bytes > .zero
      else {
        throw ValidationError("The file '\(path)' does not say a size such as 512MiB.")
      }
      return bytes
    case .automatic:
      let limit = min(Self.controlGroupLimit() ?? Self.machine, Self.machine)
      return ByteCount(max(limit.bytes - Self.process.bytes, limit.bytes / 2))
    }
  }

  private static var machine: ByteCount {
    ByteCount(sysconf(Int32(_SC_PHYS_PAGES)) * sysconf(Int32(_SC_PAGESIZE)))
  }

  /// The smallest limit of the control groups around this process, of version 2 or 1.
  private static func controlGroupLimit() -> ByteCount? {
    guard let groups = lines("/proc/self/cgroup") else { return nil }
    var limits: [Int] = []
    for group in groups {
      let fields = group.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard fields.count == 3 else { continue }
      let isSecond = fields[1].isEmpty
      guard isSecond || fields[1].split(separator: ",").contains("memory") else { continue }
      let root = isSecond ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory"
      let file = isSecond ? "memory.max" : "memory.limit_in_bytes"
      // Inside a container the own group is mounted at the root, so the path may not exist there.
      var parts = fields[2].split(separator: "/")
      while true {
        let path = ([root] + parts.map(String.init) + [file]).joined(separator: "/")
        if let limit = firstLine(path).flatMap({ Int($0) }) { limits.append(limit) }
        guard parts.popLast() != nil else { break }
      }
    }
    return limits.min().map { ByteCount($0) }
  }

  private static func firstLine(_ path: String) -> String? { lines(path)?.first }

  private static func lines(_ path: String) -> [String]? {
    guard let file = fopen(path, "r") else { return nil }
    defer { fclose(file) }
    var bytes = [UInt8](repeating: 0, count: 4096)
    let count = fread(&bytes, 1, bytes.count, file)
    return String(decoding: bytes[..<count], as: UTF8.self).split(separator: "\n").map(String.init)
  }
}

extension ByteCount {
  /// Reads a size such as `512MiB`, `2GiB`, `1.5G` or `1073741824`; units are powers of 1024.
  init?(text: String) {
    let trimmed = text.filter { !$0.isWhitespace }.lowercased()
    let number = trimmed.prefix { $0.isNumber || $0 == "." }
    let units = ["": 0, "b": 0, "k": 10, "m": 20, "g": 30, "t": 40]
    var unit = String(trimmed.dropFirst(number.count))
    for ending in ["ib", "b"] where unit.count > 1 && unit.hasSuffix(ending) {
      unit = String(unit.dropLast(ending.count))
    }
    guard let value = Double(number), let shift = units[unit] else { return nil }
    let bytes = value * Double(1 << shift)
    guard bytes >= 0, bytes < Double(1 << 62) else { return nil }
    self.init(Int(bytes))
  }
}
