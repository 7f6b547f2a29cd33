import Backend
import Compiler
import Glibc
import Models

/// A folder of packed weights: one file for each model, machine and configuration.
public struct PackedFolder: Sendable {
  /// Where it lies.
  public let path: String

  /// Opens a folder, which is made with those above it when it is missing.
  ///
  /// - Throws: `InferenceError`, when it cannot be made or written to.
  public init(path: String) throws(InferenceError) {
    var made = path.hasPrefix("/") ? "" : "."
    for part in path.split(separator: "/") {
      made += "/\(part)"
      mkdir(made, 0o755)
    }
    guard access(path, R_OK | X_OK) == 0 else {
      throw InferenceError(
        .notFound,
        "The folder for packed weights '\(path)' cannot be used: "
          + "\(String(cString: strerror(errno))). Name one with --cache.")
    }
    self.path = path
  }

  /// Everything that packed weights depend on: the model's files, this program, how it is loaded.
  ///
  /// The program is told by its own file: another build may fold or number constants differently.
  static func key(_ sources: [FileStamp], packing: String, _ options: LoadOptions) -> String {
    let program = FileStamp(path: "/proc/self/exe")?.description ?? ""
    return (sources.map(\.description) + [program, packing])
      .joined(separator: "\n") + "\nbatch \(options.maximumBatch) units \(options.units)"
  }

  /// The file of a model under a key.
  func file(_ name: String, version: String, key: String) -> String {
    "\(path)/\(name)-\(version)-\(String(XXH64.hash(key), radix: 16)).weights"
  }

  /// Keeps other processes from packing the same file until the closure is done.
  func withLock<Result>(
    _ file: String, _ body: () throws(ModelError) -> Result
  ) throws(ModelError) -> Result {
    let descriptor = open(file + ".lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
    defer { if descriptor >= 0 { close(descriptor) } }
    // Without a lock, as in a folder that is only read, weights are packed twice at worst.
    if descriptor >= 0 { while flock(descriptor, LOCK_EX) != 0, errno == EINTR {} }
    return try body()
  }
}
