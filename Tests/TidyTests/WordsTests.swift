import Foundation
import Testing

@Suite("Words: nothing left over, nothing of one machine")
struct WordsTests {
  @Test("Sources hold no notes to self, no crash by convenience and no stray output")
  func leftovers() throws {
    let note = /\b(TODO|FIXME|XXX|HACK)\b/
    let crash = /\btry!|\bas! |\bfatalError\(\)/
    for file in try SourceTree.files(in: "Sources", extensions: ["swift"]) {
      for (number, line) in file.lines.enumerated() {
        let place = "\(file.path):\(number + 1)"
        #expect(line.firstMatch(of: note) == nil, "\(place) holds a note to self.")
        #expect(line.firstMatch(of: crash) == nil, "\(place) crashes instead of telling why.")
        if file.target != "Stowage" {
          #expect(line.firstMatch(of: /\bprint\(/) == nil, "\(place) prints.")
        }
      }
    }
  }

  @Test("No file names a folder of the machine it was written on")
  func machines() throws {
    let home = /(?:^|[\s"'(=])\/(?:home|root|work|tmp\/wt)\//
    let texts = try ["Sources", "Tests", "Scripts", "Benchmarks", "Documentation", "deploy"]
      .filter(SourceTree.exists)
      .flatMap { folder in
        try SourceTree.files(
          in: folder, extensions: ["swift", "py", "md", "json", "yaml", "yml", "txt", "c", "h"])
      }
    for file in texts where !file.path.contains("__pycache__") {
      for (number, line) in file.lines.enumerated() where line.firstMatch(of: home) != nil {
        Issue.record("\(file.path):\(number + 1) names a folder of one machine: \(line)")
      }
    }
  }
}
