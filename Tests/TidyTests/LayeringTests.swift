import Foundation
import Testing

@Suite("Layering: imports only downward, two stages pure")
struct LayeringTests {
  /// What the pure stages may import: nothing that knows a clock, a thread, a file or a socket.
  static let allowedInPureStages = ["HTTP": ["Vocabulary"], "Scheduling": ["Vocabulary"]]

  @Test("HTTP and Scheduling import nothing that could do I/O", arguments: ["HTTP", "Scheduling"])
  func pureStages(target: String) throws {
    let allowed = try #require(Self.allowedInPureStages[target])
    for file in try SourceTree.files(in: "Sources/\(target)", extensions: ["swift"]) {
      for name in imports(of: file) where !allowed.contains(name) {
        Issue.record("\(file.path) imports \(name).")
      }
    }
  }

  @Test("Simulation sees only Scheduling and Vocabulary: the proof that deciding is pure")
  func simulation() throws {
    for file in try SourceTree.files(in: "Sources/Simulation", extensions: ["swift"]) {
      for name in imports(of: file)
      where !["Scheduling", "Vocabulary", "Foundation", "Glibc"].contains(name) {
        Issue.record("\(file.path) imports \(name).")
      }
    }
  }

  @Test("Every target has a folder of tests with at least one test in it")
  func mirrors() throws {
    let tools: Set = ["OperatorCheck"]
    let targets = Set(try SourceTree.files(in: "Sources", extensions: ["swift"]).map(\.target))
    for target in targets.subtracting(tools).sorted() {
      let folder = "Tests/\(target)Tests"
      let tests =
        SourceTree.exists(folder)
        ? try SourceTree.files(in: folder, extensions: ["swift"]) : []
      let hasTest = tests.contains { $0.lines.contains { $0.contains("@Test") } }
      #expect(hasTest, "\(folder) holds no test.")
    }
  }

  private func imports(of file: SourceFile) -> [String] {
    file.lines.compactMap { line in
      line.firstMatch(of: /^(?:@[a-zA-Z()]+ )?(?:public |internal |package )?import ([A-Za-z]+)/)
        .map { String($0.1) }
    }
  }
}
