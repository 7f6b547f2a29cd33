import Glibc

/// Bytes received and not yet consumed, in one piece of memory.
///
/// Aligned to 64 bytes so that tensors behind a head can be read in place. Grows to what a body
/// needs and shrinks again when it is empty.
struct InputBuffer: ~Copyable {
  private static let smallest = 16 << 10

  private var base: UnsafeMutableRawPointer
  private var capacity: Int
  private var start = 0
  private var end = 0

  init() {
    capacity = Self.smallest
    base = .allocate(byteCount: capacity, alignment: 64)
  }

  deinit { base.deallocate() }

  /// Bytes received and not consumed.
  var count: Int { end - start }

  /// The bytes received and not consumed.
  var bytes: UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(start: base + start, count: end - start)
  }

  /// Makes sure that `total` unconsumed bytes can lie here, moving what is there if need be.
  mutating func reserve(_ total: Int) {
    guard start + total > capacity else { return }
    if total <= capacity {
      base.copyMemory(from: base + start, byteCount: count)
    } else {
      // Doubling as well, so that a chunked body of unknown size moves few times.
      let room = max(total, capacity * 2)
      let larger = UnsafeMutableRawPointer.allocate(byteCount: room, alignment: 64)
      larger.copyMemory(from: base + start, byteCount: count)
      base.deallocate()
      (base, capacity) = (larger, room)
    }
    (start, end) = (0, count)
  }

  /// Receives what is there and fits, growing first when nothing would fit.
  ///
  /// - Returns: The result of `read`: bytes received, 0 at the end, -1 with errno.
  mutating func receive(_ descriptor: Int32) -> Int {
    if end == capacity { reserve(count + Self.smallest) }
    let received = read(descriptor, base + end, capacity - end)
    if received > 0 { end += received }
    return received
  }

  /// Forgets bytes at the front.
  mutating func consume(_ length: Int) {
    start += length
    guard start == end else { return }
    (start, end) = (0, 0)
    guard capacity > 256 << 10 else { return }
    base.deallocate()
    capacity = Self.smallest
    base = .allocate(byteCount: capacity, alignment: 64)
  }

  /// Forgets everything.
  mutating func discard() { consume(count) }
}
