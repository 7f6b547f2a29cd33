import Glibc

/// The models of a folder: `NAME.onnx`, `NAME/model.onnx` and `NAME/1/model.onnx`.
public struct ModelFolder: Sendable {
  /// One file to load.
  public struct Entry: Sendable, Equatable {
    /// The name in URLs.
    public var name: String
    /// The version; `1` where the folder names none.
    public var version: String
    /// Where the file lies.
    public var path: String
  }

  /// The models, by name and version.
  public let entries: [Entry]

  /// Looks for models.
  ///
  /// - Throws: `InferenceError`, when the folder cannot be read.
  public init(path: String) throws(InferenceError) {
    guard let names = Self.names(in: path) else {
      throw InferenceError(
        .notFound,
        "The folder of models '\(path)' cannot be read: \(String(cString: strerror(errno))). "
          + "Name one with --models.")
    }
    var found: [Entry] = []
    for name in names {
      let inside = "\(path)/\(name)"
      if name.hasSuffix(".onnx") {
        found.append(Entry(name: String(name.dropLast(5)), version: "1", path: inside))
      } else {
        found += Self.versions(of: name, in: inside)
      }
    }
    entries = found.filter { !$0.name.isEmpty }
      .sorted { ($0.name, Int($0.version) ?? 0) < ($1.name, Int($1.version) ?? 0) }
  }

  private static func versions(of name: String, in folder: String) -> [Entry] {
    let plain = "\(folder)/model.onnx"
    if access(plain, R_OK) == 0 { return [Entry(name: name, version: "1", path: plain)] }
    return (names(in: folder) ?? []).compactMap { version in
      let path = "\(folder)/\(version)/model.onnx"
      guard let number = Int(version), number > 0, access(path, R_OK) == 0 else { return nil }
      return Entry(name: name, version: version, path: path)
    }
  }

  /// The visible names in a folder, in order, or nil when it is none.
  static func names(in folder: String) -> [String]? {
    guard let directory = opendir(folder) else { return nil }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
        pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if !name.hasPrefix(".") { names.append(name) }
    }
    return names.sorted()
  }
}
