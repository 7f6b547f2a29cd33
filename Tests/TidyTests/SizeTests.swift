import Foundation
import Testing

@Suite("Sizes: what fits on a screen can be read")
struct SizeTests {
  @Test("No file is longer than 500 lines, no line longer than 100 columns")
  func filesAndLines() throws {
    for file in try SourceTree.code() {
      #expect(file.lines.count <= 501, "\(file.path) has \(file.lines.count - 1) lines.")
      for (number, line) in file.lines.enumerated() where line.count > 100 {
        Issue.record("\(file.path):\(number + 1) has \(line.count) columns.")
      }
    }
  }

  @Test("No function is longer than 70 lines")
  func functions() throws {
    for file in try SourceTree.code() where file.path.hasSuffix(".swift") {
      for function in functions(in: file.lines) where function.length > 70 {
        Issue.record(
          "\(file.path):\(function.line) \(function.name) has \(function.length) lines.")
      }
    }
  }

  @Test("The measure of functions sees one that is too long")
  func measure() {
    let long = ["  func big() {"] + Array(repeating: "    work()", count: 80) + ["  }"]
    #expect(functions(in: long).map(\.length) == [82])
    #expect(functions(in: ["func small() { work() }", "let x = 1"]).map(\.length) == [1])
  }

  /// Functions by their first and last line: strict formatting puts the closing brace under the
  /// keyword.
  private func functions(in lines: [String]) -> [(name: String, line: Int, length: Int)] {
    let start = /^( *)(?:[a-z@()A-Z]+ )*(?:func |init[?(<]|deinit|subscript[(<])/
    return lines.enumerated().compactMap { index, text in
      guard let match = text.firstMatch(of: start), !text.contains("//") else { return nil }
      let closing = match.1 + "}"
      let name = text.trimmingCharacters(in: .whitespaces)
      if text.hasSuffix("}") { return (name, index + 1, 1) }
      let end = lines[index...].firstIndex { $0.hasPrefix(closing) }
      // A requirement of a protocol has no body; its neighbours' braces are not its own.
      let blank = lines[index...].firstIndex { $0.hasSuffix("{") } ?? lines.endIndex
      guard let end, blank < end else { return nil }
      return (name, index + 1, end - index + 1)
    }
  }
}
