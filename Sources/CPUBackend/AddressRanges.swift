/// Ranges of addresses in ascending order, none of which touch.
///
/// The standard library's `RangeSet` does the same without being made for one type: taking a block
/// and giving it back took 6 µs with two of them, most of the time of a small layer.
struct AddressRanges {
  private(set) var ranges: [Range<Int>] = []
  /// How many addresses there are.
  private(set) var count = 0

  var isEmpty: Bool { ranges.isEmpty }

  /// Adds addresses, none of which may be there.
  mutating func insert(_ range: Range<Int>) {
    guard !range.isEmpty else { return }
    count += range.count
    let place = firstRange(endingAfter: range.lowerBound)
    let touchesLower = place > 0 && ranges[place - 1].upperBound == range.lowerBound
    let touchesUpper = place < ranges.count && ranges[place].lowerBound == range.upperBound
    switch (touchesLower, touchesUpper) {
    case (true, true):
      ranges[place - 1] = ranges[place - 1].lowerBound..<ranges[place].upperBound
      ranges.remove(at: place)
    case (true, false): ranges[place - 1] = ranges[place - 1].lowerBound..<range.upperBound
    case (false, true): ranges[place] = range.lowerBound..<ranges[place].upperBound
    case (false, false): ranges.insert(range, at: place)
    }
  }

  /// Takes addresses away, those that are there.
  mutating func remove(_ range: Range<Int>) {
    guard !range.isEmpty else { return }
    let first = firstRange(endingAfter: range.lowerBound)
    var (end, kept) = (first, [Range<Int>]())
    while end < ranges.count, ranges[end].lowerBound < range.upperBound {
      let known = ranges[end]
      count -= known.clamped(to: range).count
      if known.lowerBound < range.lowerBound { kept.append(known.lowerBound..<range.lowerBound) }
      if known.upperBound > range.upperBound { kept.append(range.upperBound..<known.upperBound) }
      end += 1
    }
    if kept.count == 1, end == first + 1 {
      ranges[first] = kept[0]
    } else if end > first {
      ranges.replaceSubrange(first..<end, with: kept)
    }
  }

  /// What of a range is there, in ascending order.
  func parts(of range: Range<Int>) -> [Range<Int>] {
    var (parts, place) = ([Range<Int>](), firstRange(endingAfter: range.lowerBound))
    while place < ranges.count, ranges[place].lowerBound < range.upperBound {
      parts.append(ranges[place].clamped(to: range))
      place += 1
    }
    return parts
  }

  /// What of a range is missing, in ascending order.
  func gaps(in range: Range<Int>) -> [Range<Int>] {
    var (gaps, start) = ([Range<Int>](), range.lowerBound)
    for part in parts(of: range) {
      if part.lowerBound > start { gaps.append(start..<part.lowerBound) }
      start = part.upperBound
    }
    if start < range.upperBound { gaps.append(start..<range.upperBound) }
    return gaps
  }

  /// The lowest address from which so many follow.
  func lowest(_ bytes: Int) -> Int? {
    for range in ranges where range.count >= bytes { return range.lowerBound }
    return nil
  }

  private func firstRange(endingAfter address: Int) -> Int {
    var (low, high) = (0, ranges.count)
    while low < high {
      let middle = (low + high) / 2
      if ranges[middle].upperBound > address { high = middle } else { low = middle + 1 }
    }
    return low
  }
}
