import Backend
import Compiler
import Glibc
import Models
public import Vocabulary

/// A folder of packed weights: one file for each model, machine and configuration.
public struct PackedFolder: Sendable {
  /// Where it lies.
  public let path: String
  /// The most bytes of packed weights, as long as those in use allow.
  let limit: Int

  /// Opens a folder, which is made with those above it when it is missing.
  ///
  /// - Parameter limit: The most bytes of packed weights, as long as those in use allow; half of
  ///   what the file system holds unless told.
  /// - Throws: `InferenceError`, when it cannot be made or written to.
  public init(path: String, limit: ByteCount? = nil) throws(InferenceError) {
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
    self.limit = limit?.bytes ?? Self.defaultLimit(of: path)
  }

  /// Everything that packed weights depend on: the model's files, this program, how it is loaded.
  ///
  /// The program is told by its own file: another build may fold or number constants differently.
  static func key(_ sources: [FileStamp], packing: String, _ options: LoadOptions) -> String {
    let program = FileStamp(path: "/proc/self/exe")?.description ?? ""
    return (sources.map(\.description) + [program, packing])
      .joined(separator: "\n") + "\nbatch \(options.maximumBatch) units \(options.units) "
      + options.precision.rawValue + (options.offersAlternatives ? " alternatives" : "")
  }

  /// The file of a model under a key.
  func file(_ name: String, version: String, key: String) -> String {
    "\(path)/\(name)-\(version)-\(String(XXH64.hash(key), radix: 16)).weights"
  }

  /// Keeps other processes from packing the same file until the closure is done.
  func withLock<Result>(
    _ file: String, _ body: () throws(ModelError) -> Result
  ) throws(ModelError) -> Result {
    // Without a lock, as in a folder that is only read, weights are packed twice at worst.
    let descriptor = Self.lock(file, LOCK_EX)
    defer { if let descriptor { close(descriptor) } }
    return try body()
  }

  /// Does as `withLock`, unless another process has the lock; nil then.
  func withFreeLock<Result>(_ file: String, _ body: () -> Result) -> Result? {
    guard let descriptor = Self.lock(file, LOCK_EX | LOCK_NB) else { return nil }
    defer { close(descriptor) }
    return body()
  }

  private static func lock(_ file: String, _ operation: Int32) -> Int32? {
    while true {
      let descriptor = open(file + ".lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
      guard descriptor >= 0 else { return nil }
      var isBusy = false
      while !isBusy, flock(descriptor, operation) != 0 { isBusy = errno != EINTR }
      var (own, found) = (stat(), stat())
      fstat(descriptor, &own)
      let isThere = stat(file + ".lock", &found) == 0 && own.st_ino == found.st_ino
      if !isBusy, isThere { return descriptor }
      close(descriptor)
      guard !isBusy else { return nil }
      // Whoever removed the weights meanwhile removed the lock with them: there is a new one.
    }
  }
}
