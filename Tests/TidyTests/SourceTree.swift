import Foundation
import Testing

/// A file of the repository as text, with its path from the root.
struct SourceFile: CustomTestStringConvertible {
  let path: String
  let lines: [String]

  var testDescription: String { path }

  /// The name of the target: the second part of the path.
  var target: String { path.split(separator: "/").dropFirst().first.map(String.init) ?? "" }
}

/// The repository that holds this test.
enum SourceTree {
  static let root = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

  /// Every file below a folder with one of the extensions, in order of its path.
  static func files(in folder: String, extensions: Set<String>) throws -> [SourceFile] {
    let base = root.appendingPathComponent(folder)
    guard let names = FileManager.default.enumerator(atPath: base.path) else {
      throw CocoaError(.fileNoSuchFile)
    }
    return try names.compactMap { $0 as? String }.sorted()
      .filter { extensions.contains(($0 as NSString).pathExtension) }
      .map { name in
        let text = try String(contentsOf: base.appendingPathComponent(name), encoding: .utf8)
        return SourceFile(path: "\(folder)/\(name)", lines: text.components(separatedBy: "\n"))
      }
  }

  /// All Swift and C files of the project.
  static func code() throws -> [SourceFile] {
    try files(in: "Sources", extensions: ["swift", "c", "cpp", "h"])
      + files(in: "Tests", extensions: ["swift"])
  }

  /// A text file at the root.
  static func text(_ name: String) throws -> String {
    try String(contentsOf: root.appendingPathComponent(name), encoding: .utf8)
  }

  static func exists(_ path: String) -> Bool {
    FileManager.default.fileExists(atPath: root.appendingPathComponent(path).path)
  }
}
