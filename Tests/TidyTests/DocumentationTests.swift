import Foundation
import Testing

@Suite("Documentation: what it names is there")
struct DocumentationTests {
  @Test(
    "Every path that a page names exists",
    arguments: [
      "ARCHITECTURE.md", "README.md", "Documentation/Scheduling.md", "Documentation/Simulating.md",
      "Profiles/README.md",
    ])
  func pathsExist(page: String) throws {
    let text = try SourceTree.text(page)
    let roots = [
      "Sources", "Tests", "Scripts", "Benchmarks", "Documentation", "deploy", "Models", "Examples",
      "Training", "Fuzz", "Profiles",
    ]
    var named = 0
    for match in text.matches(of: /[`(]([A-Za-z.]+(?:\/[A-Za-z0-9_.\-]+)+\/?)[`)#]/) {
      let path = String(match.1)
      guard roots.contains(where: { path.hasPrefix($0 + "/") }) else { continue }
      named += 1
      #expect(SourceTree.exists(path), "\(page) names \(path), which does not exist.")
    }
    #expect(named > 0, "\(page) names no path: the pattern of this test no longer fits it.")
  }

  @Test("ARCHITECTURE.md names every target")
  func targetsNamed() throws {
    let text = try SourceTree.text("ARCHITECTURE.md")
    let targets = Set(
      try SourceTree.files(in: "Sources", extensions: ["swift", "h"]).map(\.target))
    for target in targets.sorted() {
      #expect(text.contains("`\(target)`"), "ARCHITECTURE.md does not name `\(target)`.")
    }
  }
}
