import Glibc
import Testing

@testable import Backend

/// Addresses for some frames, aligned as frames are.
private final class Addresses {
  private let reserved: UnsafeMutableRawPointer
  private let bytes: Int
  let base: UnsafeMutableRawPointer

  init(frames: Int) throws {
    bytes = (frames + 1) * PageFrames.frameBytes
    let memory = mmap(
      nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    reserved = try #require(memory != MAP_FAILED ? memory : nil)
    base = reserved + (-Int(bitPattern: reserved) & (PageFrames.frameBytes - 1))
  }

  deinit { munmap(reserved, bytes) }

  func frame(_ number: Int) -> UnsafeMutableRawPointer { base + number * PageFrames.frameBytes }

  func fill(_ number: Int, with value: UInt8) {
    memset(frame(number), Int32(value), PageFrames.frameBytes)
  }

  /// The first and the last byte of a frame.
  func ends(_ number: Int) -> [UInt8] {
    [frame(number), frame(number) + PageFrames.frameBytes - 1].map { $0.load(as: UInt8.self) }
  }
}

@Suite("Frames of memory that change places")
struct PageFramesTests {
  @Test("What one place leaves another takes over with what is in it, the oldest first")
  func moving() throws {
    let addresses = try Addresses(frames: 4)
    let frames = PageFrames()
    addresses.fill(0, with: 10)
    addresses.fill(1, with: 11)
    frames.keep(addresses.frame(0))
    frames.keep(addresses.frame(1))
    #expect(frames.byteCount == 2 * PageFrames.frameBytes)
    #expect(frames.give(to: addresses.frame(2)))
    #expect(addresses.ends(2) == [10, 10])
    #expect(frames.give(to: addresses.frame(3)))
    #expect(addresses.ends(3) == [11, 11])
    #expect(!frames.give(to: addresses.frame(0)))
    // Their old addresses are empty and can be used again.
    #expect(addresses.ends(0) == [0, 0])
    addresses.fill(0, with: 12)
    #expect(addresses.ends(0) == [12, 12])
    #expect(addresses.ends(2) == [10, 10])
  }

  @Test("A frame that is asked for where it lies stays there")
  func staying() throws {
    let addresses = try Addresses(frames: 2)
    let frames = PageFrames()
    for turn in 0..<5000 {
      addresses.fill(0, with: UInt8(turn % 200 + 1))
      frames.keep(addresses.frame(0))
      frames.keep(addresses.frame(0))
      #expect(frames.byteCount == PageFrames.frameBytes)
      #expect(frames.give(to: addresses.frame(0)))
      #expect(addresses.ends(0)[0] == UInt8(turn % 200 + 1))
    }
    #expect(frames.byteCount == 0)
    #expect(!frames.give(to: addresses.frame(1)))
  }

  @Test("What is trimmed leaves the machine, and what goes away is forgotten")
  func trimming() throws {
    let addresses = try Addresses(frames: 4)
    let frames = PageFrames()
    for number in 0..<4 {
      addresses.fill(number, with: UInt8(20 + number))
      frames.keep(addresses.frame(number))
    }
    frames.trim(to: 2 * PageFrames.frameBytes + 1)
    #expect(frames.byteCount == 2 * PageFrames.frameBytes)
    #expect(addresses.ends(0) == [0, 0])
    #expect(addresses.ends(1) == [0, 0])
    #expect(addresses.ends(2) == [22, 22])
    frames.forget(
      UnsafeMutableRawBufferPointer(start: addresses.frame(2), count: PageFrames.frameBytes))
    #expect(frames.byteCount == PageFrames.frameBytes)
    frames.trim(to: -1)
    #expect(frames.byteCount == 0)
    #expect(addresses.ends(2) == [22, 22])
    #expect(addresses.ends(3) == [0, 0])
  }

  @Test("Whatever comes and goes, no frame is in two places", arguments: 1...10)
  func places(seed: Int) throws {
    var random = UInt64(seed) &* 0x9E37_79B9_7F4A_7C15
    func draw(_ bound: Int) -> Int {
      random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(random >> 33) % bound
    }
    let count = 12
    let addresses = try Addresses(frames: count)
    let frames = PageFrames()
    var marks: [Int: UInt64] = [:]
    for turn in 0..<400 {
      let place = draw(count)
      if marks[place] != nil, draw(2) == 0 {
        marks[place] = nil
        frames.keep(addresses.frame(place))
      } else if marks[place] == nil {
        frames.give(to: addresses.frame(place))
        marks[place] = UInt64(turn + 1)
        addresses.frame(place).storeBytes(of: UInt64(turn + 1), as: UInt64.self)
      }
      if draw(40) == 0 { frames.trim(to: draw(count) * PageFrames.frameBytes) }
      for (place, mark) in marks {
        #expect(addresses.frame(place).load(as: UInt64.self) == mark, "seed \(seed)")
      }
    }
  }
}
