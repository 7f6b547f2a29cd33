import Backend
import Glibc
import Models
import Testing
import Vocabulary

@testable import Engine

@Suite("The folder of packed weights keeps its limit")
final class PackedFolderTests {
  private let path: String

  init() throws {
    var name = Array("/tmp/stowage-test-XXXXXX".utf8CString)
    path = try #require(mkdtemp(&name)).withMemoryRebound(to: CChar.self, capacity: name.count) {
      String(cString: $0)
    }
  }

  deinit {
    for name in names { unlink("\(path)/\(name)") }
    rmdir(path)
  }

  private var names: [String] { ModelFolder.names(in: path) ?? [] }

  /// Writes a file that was used so many seconds after 1970.
  private func write(_ name: String, bytes: Int, usedAt seconds: Int) throws {
    let descriptor = open("\(path)/\(name)", O_WRONLY | O_CREAT, 0o644)
    try #require(descriptor >= 0)
    defer { close(descriptor) }
    let content = [UInt8](repeating: 7, count: bytes)
    #expect(Glibc.write(descriptor, content, bytes) == bytes)
    let moment = timespec(tv_sec: seconds, tv_nsec: 0)
    #expect(futimens(descriptor, [moment, moment]) == 0)
  }

  /// Three models of 110 bytes with their costs, the first of which was used last.
  private func writeThree() throws {
    for (place, name) in ["a-1-f0.weights", "b-1-1.weights", "c-d-2-0123456789abcdef.weights"]
      .enumerated()
    {
      try write(name, bytes: 100, usedAt: 1000 - place * 100)
      try write(name + ".costs", bytes: 10, usedAt: 500)
      try write(name + ".lock", bytes: 0, usedAt: 500)
    }
  }

  private func trim(to limit: Int, keeping used: [String] = []) throws -> [String] {
    let folder = try PackedFolder(path: path, limit: ByteCount(limit))
    return folder.trim(keeping: Set(used.map { "\(path)/\($0)" }))
      .map { String($0.dropFirst(path.count + 1)) }
  }

  @Test("Within the limit everything stays")
  func withinLimit() throws {
    try writeThree()
    #expect(try trim(to: 330) == [])
    #expect(names.count == 9)
  }

  @Test("What no start has used for the longest goes first, with its costs and its lock")
  func oldestFirst() throws {
    try writeThree()
    #expect(try trim(to: 329) == ["c-d-2-0123456789abcdef.weights"])
    #expect(try trim(to: 110) == ["b-1-1.weights"])
    #expect(names == ["a-1-f0.weights", "a-1-f0.weights.costs", "a-1-f0.weights.lock"])
    #expect(try trim(to: 0) == ["a-1-f0.weights"])
    #expect(names == [])
  }

  @Test("What is in use stays, whatever the limit, and counts")
  func inUse() throws {
    try writeThree()
    #expect(
      try trim(to: 115, keeping: ["c-d-2-0123456789abcdef.weights"])
        == ["b-1-1.weights", "a-1-f0.weights"])
    #expect(try trim(to: 0, keeping: ["c-d-2-0123456789abcdef.weights"]) == [])
  }

  @Test("Files that are none of ours stay")
  func others() throws {
    let others = ["README", "a-1-xyz.weights", "a.weights", "model.onnx", "weights"]
    for name in others { try write(name, bytes: 100, usedAt: 1) }
    #expect(try trim(to: 0) == [])
    #expect(names == others)
  }

  @Test("What was begun and never finished goes, but not while somebody packs")
  func partial() throws {
    try write("a-1-1.weights.partial", bytes: 100, usedAt: 1)
    let folder = try PackedFolder(path: path, limit: ByteCount(1000))
    try folder.withLock("\(path)/a-1-1.weights") { () throws(ModelError) in
      #expect(folder.trim(keeping: []) == [])
      #expect(names.contains("a-1-1.weights.partial"))
      let tight = try? PackedFolder(path: path, limit: .zero)
      #expect(tight?.trim(keeping: []) == [])
    }
    #expect(folder.trim(keeping: []) == [])
    #expect(names == ["a-1-1.weights.lock"])
  }

  @Test("A lock whose file was removed meanwhile is taken anew, so that two never hold one")
  func removedLock() throws {
    let folder = try PackedFolder(path: path)
    let file = "\(path)/a-1-1.weights"
    try folder.withLock(file) { () throws(ModelError) in
      #expect(folder.withFreeLock(file) {} == nil)
      unlink(file + ".lock")
      #expect(folder.withFreeLock(file) { true } == true)
    }
    #expect(folder.withFreeLock(file) { true } == true)
  }

  @Test("Half of the file system is the limit unless told")
  func defaultLimit() throws {
    var system = statvfs()
    try #require(statvfs(path, &system) == 0)
    let half = Int(system.f_blocks) * Int(system.f_frsize) / 2
    #expect(try PackedFolder(path: path).limit == half)
    #expect(PackedFolder.defaultLimit(of: "/nowhere/at/all") == .max)
  }
}
