import Glibc
import Testing

@testable import Engine

@Suite("Pages that need not be hashed again")
struct CheckedPagesTests {
  private static func version(bytes: Int = 100, _ modified: Int64) -> PackedFile.Version {
    PackedFile.Version(bytes: bytes, modified: modified, changed: modified)
  }

  private static var now: Int64 {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    return Int64(now.tv_sec) * 1_000_000_000 + Int64(now.tv_nsec)
  }

  @Test("What was right in a file that nobody has touched since is not looked at again")
  func known() {
    let old = Self.version(1_000)
    var pages = CheckedPages()
    #expect(pages.unknown(of: 3..<6, in: old) == [3, 4, 5])
    pages.note([3, 5], old, old)
    #expect(pages.unknown(of: 2..<7, in: old) == [2, 4, 6])
  }

  @Test("Any change of the file makes all pages unknown")
  func changed() {
    let old = Self.version(1_000)
    for other in [Self.version(1_001), Self.version(bytes: 99, 1_000), nil] {
      var pages = CheckedPages()
      _ = pages.unknown(of: 0..<2, in: old)
      pages.note([0, 1], old, old)
      #expect(pages.unknown(of: 0..<2, in: other) == [0, 1])
      #expect(pages.unknown(of: 0..<2, in: old) == [0, 1])
    }
  }

  @Test("A file that changed while it was read, or a moment ago, is not trusted")
  func unsure() {
    let (old, new) = (Self.version(1_000), Self.version(2_000))
    var pages = CheckedPages()
    _ = pages.unknown(of: 0..<1, in: new)
    pages.note([0], old, new)
    #expect(pages.unknown(of: 0..<1, in: new) == [0])
    pages.note([0], nil, new)
    #expect(pages.unknown(of: 0..<1, in: new) == [0])
    let fresh = Self.version(Self.now)
    _ = pages.unknown(of: 0..<1, in: fresh)
    pages.note([0], fresh, fresh)
    #expect(pages.unknown(of: 0..<1, in: fresh) == [0])
  }
}
