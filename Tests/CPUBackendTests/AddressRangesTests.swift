import Testing

@testable import CPUBackend

@Suite("Ranges of addresses")
struct AddressRangesTests {
  @Test("Neighbours join, and what is taken away leaves both sides")
  func neighbours() {
    var ranges = AddressRanges()
    ranges.insert(0..<10)
    ranges.insert(20..<30)
    ranges.insert(10..<20)
    #expect(ranges.ranges == [0..<30])
    ranges.remove(5..<8)
    #expect(ranges.ranges == [0..<5, 8..<30] && ranges.count == 27)
    #expect(ranges.lowest(6) == 8 && ranges.lowest(23) == nil)
    #expect(ranges.parts(of: 3..<12) == [3..<5, 8..<12])
    #expect(ranges.gaps(in: 3..<35) == [5..<8, 30..<35])
  }

  /// Against a set of single addresses.
  @Test("Any order of insertions and removals", arguments: 0..<20)
  func anyOrder(seed: Int) {
    var random = Seeded(seed)
    func pick(_ count: Int) -> Int {
      min(Int((random.floats(1)[0] + 1) / 2 * Float(count)), count - 1)
    }
    var (ranges, expected) = (AddressRanges(), Set<Int>())
    for _ in 0..<300 {
      let start = pick(100)
      let range = start..<start + pick(20)
      if pick(2) == 0, expected.isDisjoint(with: range) {
        ranges.insert(range)
        expected.formUnion(range)
      } else {
        ranges.remove(range)
        expected.subtract(range)
      }
      #expect(ranges.count == expected.count)
      #expect(Set(ranges.ranges.flatMap { Array($0) }) == expected)
      let pairs = zip(ranges.ranges, ranges.ranges.dropFirst())
      #expect(pairs.allSatisfy { $0.upperBound < $1.lowerBound })
      #expect(ranges.ranges.allSatisfy { !$0.isEmpty })
      let window = start - 10..<start + 30
      #expect(Set(ranges.parts(of: window).flatMap { Array($0) }) == expected.intersection(window))
      let gaps = Set(ranges.gaps(in: window).flatMap { Array($0) })
      #expect(gaps == Set(window).subtracting(expected))
      let size = 1 + pick(15)
      #expect(
        ranges.lowest(size) == (0..<130).first { expected.isSuperset(of: $0..<$0 + size) })
    }
  }
}
