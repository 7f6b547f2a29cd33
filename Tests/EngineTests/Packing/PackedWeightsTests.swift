import Backend
import Glibc
import Models
import Testing

@testable import Engine

/// A folder of its own that goes away with the test.
private final class Folder {
  let path: String

  init() throws {
    var name = Array("/tmp/stowage-test-XXXXXX".utf8CString)
    path = try #require(mkdtemp(&name)).withMemoryRebound(to: CChar.self, capacity: name.count) {
      String(cString: $0)
    }
  }

  deinit {
    for name in ["w", "w.partial"] { unlink("\(path)/\(name)") }
    rmdir(path)
  }

  var file: String { path + "/w" }
}

/// Numbers that differ from page to page.
private func content(_ seed: Int, _ count: Int) -> [UInt8] {
  var state = UInt64(truncatingIfNeeded: seed &* 7919 &+ 1)
  return (0..<count).map { _ in
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return UInt8(truncatingIfNeeded: state >> 56)
  }
}

/// The constants of a test: layer, name, bytes.
private let constants: [(layer: Int, name: String, bytes: [UInt8])] = [
  (0, "a", content(1, 100_000)), (0, "b", content(2, 33)), (1, "a", content(3, 200_000)),
  (0, "late", content(4, 70_000)),
]

private func pack(_ file: String, key: String = "k") throws -> PackedWeights {
  let weights = try PackedWeights(
    writing: try PackedFile.create(file), key: key, limit: 1 << 24, .read(PageFrames()))
  for constant in constants {
    _ = try weights.place(
      layer: constant.layer, name: constant.name, byteCount: constant.bytes.count
    ) { $0.copyMemory(from: constant.bytes, byteCount: constant.bytes.count) }
  }
  try weights.seal()
  return weights
}

private func open(_ file: String) throws -> PackedWeights {
  let (file, table) = try #require(PackedFile.open(existing: file))
  return try PackedWeights(reading: file, table, .read(PageFrames()))
}

@Suite("Packed weights")
struct PackedWeightsTests {
  @Test("What was packed is there after opening the file again, layer by layer in whole pages")
  func roundTrip() throws {
    let folder = try Folder()
    _ = try pack(folder.file)
    let weights = try open(folder.file)
    for layer in 0...1 {
      let size = weights.byteCount(layer: layer)
      #expect(size % PackedTable.pageBytes == 0)
      try weights.pageIn(layer: layer, bytes: 0..<size)
    }
    for constant in constants {
      let place = try weights.place(
        layer: constant.layer, name: constant.name, byteCount: constant.bytes.count
      ) { _ in Issue.record("\(constant.name) was filled again.") }
      let found = Array(UnsafeRawBufferPointer(start: place, count: constant.bytes.count))
      #expect(found == constant.bytes)
      #expect(Int(bitPattern: place) % 64 == 0)
    }
    #expect(!weights.isIncomplete)
  }

  @Test("A layer that was written to twice is paged in as one")
  func extents() throws {
    let folder = try Folder()
    let weights = try pack(folder.file)
    let size = weights.byteCount(layer: 0)
    #expect(size == 2 * PackedTable.pageBytes + 2 * PackedTable.pageBytes)
    #expect(weights.ranges(.init(layer: 0, bytes: 0..<size)).count == 2)
    let page = PackedTable.pageBytes
    let middle = weights.ranges(.init(layer: 0, bytes: page..<3 * page))
    #expect(middle.map(\.count) == [page, page])
    #expect(middle[0].lowerBound == page)
  }

  @Test("The weights of a layer's kernels come and go one by one")
  func kernels() throws {
    let folder = try Folder()
    let weights = try PackedWeights(
      writing: try PackedFile.create(folder.file), key: "k", limit: 1 << 24, .read(PageFrames()))
    let bytes = [content(7, 300_000), content(8, 90_000)]
    for kernel in 0...1 {
      _ = try weights.place(
        layer: 0, kernel: kernel, name: "w", byteCount: bytes[kernel].count
      ) { $0.copyMemory(from: bytes[kernel], byteCount: bytes[kernel].count) }
    }
    try weights.seal()
    let found = try open(folder.file)
    #expect(found.byteCount(layer: 0, kernel: 0) == 5 * PackedTable.pageBytes)
    #expect(found.byteCount(layer: 0, kernel: 1) == 2 * PackedTable.pageBytes)
    try found.pageIn(layer: 0, kernel: 1, bytes: 0..<2 * PackedTable.pageBytes)
    #expect(found.isResident(0..<1, kernels: [1]))
    #expect(!found.isResident(0..<1) && !found.isResident(0..<1, kernels: [0]))
    let place = try found.place(layer: 0, kernel: 1, name: "w", byteCount: 90_000) { _ in
      Issue.record("The second kernel's weights were filled again.")
    }
    #expect(Array(UnsafeRawBufferPointer(start: place, count: 90_000)) == bytes[1])
    found.evict(layer: 0, kernel: 1, bytes: 0..<2 * PackedTable.pageBytes)
    #expect(!found.isResident(0..<1, kernels: [1]))
  }

  @Test("Evicted pages leave the memory of the machine and come back the same")
  func eviction() throws {
    let folder = try Folder()
    let weights = try pack(folder.file)
    let size = weights.byteCount(layer: 1)
    for _ in 0..<3 {
      weights.evict(layer: 1, bytes: 0..<size)
      try weights.pageIn(layer: 1, bytes: 0..<size)
      let place = try weights.place(layer: 1, name: "a", byteCount: 200_000) { _ in }
      #expect(Array(UnsafeRawBufferPointer(start: place, count: 200_000)) == constants[2].bytes)
    }
  }

  @Test("A constant that was not packed stays in memory, and the weights say so")
  func extras() throws {
    let folder = try Folder()
    let weights = try pack(folder.file)
    let place = try weights.place(layer: 1, name: "new", byteCount: 4) {
      $0.storeBytes(of: 7, as: UInt32.self)
    }
    #expect(place.load(as: UInt32.self) == 7)
    #expect(weights.isIncomplete)
  }

  @Test("A bit that changed on the disk is found when its page comes in")
  func damage() throws {
    let folder = try Folder()
    _ = try pack(folder.file)
    let descriptor = Glibc.open(folder.file, O_RDWR)
    var byte = constants[2].bytes[5] ^ 1
    let offset =
      try #require(
        try open(folder.file).ranges(.init(layer: 1, bytes: 0..<1)).first
      ).lowerBound + 5
    #expect(pwrite(descriptor, &byte, 1, offset) == 1)
    close(descriptor)
    let weights = try open(folder.file)
    #expect(throws: ModelError.self) {
      try weights.pageIn(layer: 1, bytes: 0..<PackedTable.pageBytes)
    }
    try weights.pageIn(layer: 0, bytes: 0..<PackedTable.pageBytes)
  }

  @Test("A layer counts as resident only from its first page to its last")
  func residency() throws {
    let folder = try Folder()
    _ = try pack(folder.file)
    let weights = try open(folder.file)
    let (size, page) = (weights.byteCount(layer: 1), PackedTable.pageBytes)
    #expect(!weights.isResident(1..<2))
    try weights.pageIn(layer: 1, bytes: page..<size)
    #expect(!weights.isResident(1..<2))
    try weights.pageIn(layer: 1, bytes: 0..<page)
    try weights.pageIn(layer: 1, bytes: page..<size)
    #expect(weights.isResident(1..<2))
    #expect(!weights.isResident(0..<2))
    weights.evict(layer: 1, bytes: page..<size)
    #expect(!weights.isResident(1..<2))
  }

  @Test("Pieces of several layers come in together, whether they lie side by side or not")
  func together() throws {
    let folder = try Folder()
    _ = try pack(folder.file)
    let weights = try open(folder.file)
    let (page, sizes) = (PackedTable.pageBytes, (0...1).map { weights.byteCount(layer: $0) })
    try weights.pageIn([.init(layer: 0, bytes: 0..<page), .init(layer: 1, bytes: 0..<page)])
    #expect(!weights.isResident(0..<1) && !weights.isResident(1..<2))
    try weights.pageIn([
      .init(layer: 1, bytes: page..<sizes[1]), .init(layer: 0, bytes: page..<sizes[0]),
    ])
    #expect(weights.isResident(0..<2))
    for constant in constants {
      let place = try weights.place(
        layer: constant.layer, name: constant.name, byteCount: constant.bytes.count
      ) { _ in }
      let found = Array(UnsafeRawBufferPointer(start: place, count: constant.bytes.count))
      #expect(found == constant.bytes)
    }
  }

  @Test("Of pieces that come in together none counts when one of them is damaged")
  func damageTogether() throws {
    let folder = try Folder()
    _ = try pack(folder.file)
    let (descriptor, reader) = (Glibc.open(folder.file, O_RDWR), try open(folder.file))
    var byte = constants[2].bytes[5] ^ 1
    let offset =
      try #require(
        reader.ranges(.init(layer: 1, bytes: 0..<1)).first
      ).lowerBound + 5
    #expect(pwrite(descriptor, &byte, 1, offset) == 1)
    close(descriptor)
    let weights = try open(folder.file)
    let pieces = (0...1).map {
      PackedWeights.Piece(layer: $0, bytes: 0..<weights.byteCount(layer: $0))
    }
    #expect(throws: ModelError.self) { try weights.pageIn(pieces) }
    #expect(!weights.isResident(0..<1) && !weights.isResident(1..<2))
  }

  @Test("A file that was cut short while it is open is an error, not a signal")
  func truncation() throws {
    let folder = try Folder()
    _ = try pack(folder.file)
    let weights = try open(folder.file)
    #expect(truncate(folder.file, 4096) == 0)
    #expect(throws: ModelError.self) {
      try weights.pageIn(layer: 1, bytes: 0..<PackedTable.pageBytes)
    }
  }

  @Test("Whatever is cut off or changed at the end, a file is whole or is not opened")
  func torn() throws {
    let folder = try Folder()
    _ = try pack(folder.file)
    var status = stat()
    #expect(stat(folder.file, &status) == 0)
    let size = Int(status.st_size)
    for cut in [1, 8, 31, 32, 33, 200, PackedTable.pageBytes, size] {
      let descriptor = Glibc.open(folder.file, O_RDONLY)
      var bytes = [UInt8](repeating: 0, count: size)
      #expect(pread(descriptor, &bytes, size, 0) == size)
      close(descriptor)
      let torn = folder.file + ".partial"
      let copy = Glibc.open(torn, O_RDWR | O_CREAT | O_TRUNC, 0o644)
      #expect(write(copy, bytes, size - cut) == size - cut)
      close(copy)
      #expect(PackedFile.open(existing: torn)?.1 == nil)
    }
  }

  @Test("Nothing has the final name before it is whole")
  func unfinished() throws {
    let folder = try Folder()
    let weights = try PackedWeights(
      writing: try PackedFile.create(folder.file), key: "k", limit: 1 << 20, .read(PageFrames()))
    _ = try weights.place(layer: 0, name: "a", byteCount: 4) {
      $0.storeBytes(of: 1, as: UInt32.self)
    }
    #expect(access(folder.file, F_OK) != 0)
    try weights.seal()
    #expect(access(folder.file, F_OK) == 0)
    #expect(access(folder.file + ".partial", F_OK) != 0)
  }

  @Test("XXH64 gives the published hashes")
  func hashes() {
    #expect(XXH64.hash("") == 0xEF46_DB37_51D8_E999)
    #expect(XXH64.hash("a") == 0xD24E_C4F1_A98C_6E5B)
    #expect(XXH64.hash("abc") == 0x44BC_2CF5_AD77_0999)
  }
}
