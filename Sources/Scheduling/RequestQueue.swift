import Vocabulary

/// The requests that wait for one model: smaller priority numbers first, then by arrival.
struct RequestQueue: Sendable {
  /// A request with the moment it came.
  struct Entry: Sendable {
    var request: QueuedRequest
    var arrived: Instant
  }

  private var entries: [Entry] = []
  /// Entries before this index have left; they are cleared away when they are the larger part.
  private var head = 0
  /// The samples of all requests that wait.
  private(set) var samples = 0
  /// No waiting request has an earlier deadline; it may lie before the earliest one.
  private(set) var earliestDeadline = Instant.distantFuture
  /// No waiting request came earlier.
  private(set) var earliestArrival = Instant.distantFuture

  var count: Int { entries.count - head }
  var isEmpty: Bool { head == entries.count }
  var first: Entry? { isEmpty ? nil : entries[head] }

  mutating func insert(_ request: QueuedRequest, at now: Instant) {
    var place = entries.count
    while place > head,
      entries[place - 1].request.priority > request.priority
        || entries[place - 1].request.priority == request.priority
          && entries[place - 1].arrived > now
    {
      place -= 1
    }
    entries.insert(Entry(request: request, arrived: now), at: place)
    samples += request.samples
    earliestDeadline = min(earliestDeadline, request.deadline ?? .distantFuture)
    earliestArrival = min(earliestArrival, now)
  }

  /// Takes the first request and those behind it that may travel with it.
  ///
  /// Requests of another shape class are passed over and keep their places; the first one that does
  /// not fit ends the batch, so that no request is overtaken for its size.
  mutating func takeBatch(maximum: Int, into taken: inout [Entry]) {
    guard let first else { return }
    var (total, read) = (0, head)
    var write = head
    while read < entries.count {
      let entry = entries[read]
      if entry.request.shapeClass == first.request.shapeClass {
        guard total + entry.request.samples <= maximum else { break }
        total += entry.request.samples
        taken.append(entry)
      } else {
        entries[write] = entry
        write += 1
      }
      read += 1
    }
    closeGap(from: write, to: read)
    refresh()
  }

  /// The batch that would be taken now, and whether it could hold no more.
  func batchPreview(maximum: Int) -> (requests: Int, samples: Int, isFull: Bool) {
    guard let first else { return (0, 0, false) }
    var (requests, total) = (0, 0)
    for entry in entries[head...] where entry.request.shapeClass == first.request.shapeClass {
      guard total + entry.request.samples <= maximum else { return (requests, total, true) }
      total += entry.request.samples
      requests += 1
      if total == maximum { return (requests, total, true) }
    }
    return (requests, total, false)
  }

  /// The samples of the first requests that may travel together.
  func samples(ofFirst count: Int) -> Int {
    guard let first else { return 0 }
    var (left, total) = (count, 0)
    for entry in entries[head...] where entry.request.shapeClass == first.request.shapeClass {
      guard left > 0 else { break }
      total += entry.request.samples
      left -= 1
    }
    return total
  }

  /// Takes out the requests that `leaves` says.
  mutating func remove(into taken: inout [Entry], where leaves: (QueuedRequest) -> Bool) {
    var write = head
    for read in head..<entries.count {
      if leaves(entries[read].request) {
        taken.append(entries[read])
      } else {
        entries[write] = entries[read]
        write += 1
      }
    }
    entries.removeSubrange(write...)
    refresh()
  }

  /// Removes the places between the entries kept in front and those not looked at yet.
  private mutating func closeGap(from write: Int, to read: Int) {
    let kept = write - head
    for offset in 0..<kept { entries[read - 1 - offset] = entries[write - 1 - offset] }
    head = read - kept
    guard head * 2 > entries.count else { return }
    entries.removeSubrange(..<head)
    head = 0
  }

  private mutating func refresh() {
    (samples, earliestDeadline, earliestArrival) = (0, .distantFuture, .distantFuture)
    for entry in entries[head...] {
      samples += entry.request.samples
      earliestDeadline = min(earliestDeadline, entry.request.deadline ?? .distantFuture)
      earliestArrival = min(earliestArrival, entry.arrived)
    }
  }
}
