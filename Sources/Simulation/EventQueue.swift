/// A binary heap of moments: the earliest first, of equal moments the one put in first.
struct EventQueue<Payload> {
  private struct Entry {
    var at: Double
    var order: UInt64
    var payload: Payload
  }

  private var entries: [Entry] = []
  private var nextOrder: UInt64 = 0

  var isEmpty: Bool { entries.isEmpty }

  mutating func push(_ payload: Payload, at moment: Double) {
    entries.append(Entry(at: moment, order: nextOrder, payload: payload))
    nextOrder += 1
    var child = entries.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      guard precedes(child, parent) else { return }
      entries.swapAt(child, parent)
      child = parent
    }
  }

  mutating func pop() -> (at: Double, payload: Payload)? {
    guard let first = entries.first else { return nil }
    let last = entries.removeLast()
    guard !entries.isEmpty else { return (first.at, first.payload) }
    entries[0] = last
    var parent = 0
    while true {
      var least = parent
      for child in [2 * parent + 1, 2 * parent + 2]
      where child < entries.count && precedes(child, least) {
        least = child
      }
      guard least != parent else { return (first.at, first.payload) }
      entries.swapAt(parent, least)
      parent = least
    }
  }

  private func precedes(_ left: Int, _ right: Int) -> Bool {
    (entries[left].at, entries[left].order) < (entries[right].at, entries[right].order)
  }
}
