import Synchronization

/// Something that can be read as lines of the text format.
protocol Source: Sendable {
  func write(_ name: String, _ labels: String, into text: inout String)
}

/// A number that only grows.
public final class Counter: Source {
  private let value = Atomic<Int>(0)
  private let scale: Double

  init(scale: Double) { self.scale = scale }

  /// Adds steps.
  public func add(_ steps: Int = 1) { value.add(steps, ordering: .relaxed) }

  /// The steps so far.
  public var steps: Int { value.load(ordering: .relaxed) }

  func write(_ name: String, _ labels: String, into text: inout String) {
    text += line(name, labels, scale == 1 ? "\(steps)" : number(Double(steps) * scale))
  }
}

/// A number that grows and shrinks.
public final class Gauge: Source {
  private let value = Atomic<Int>(0)

  /// Adds to it, or takes away.
  public func add(_ steps: Int) { value.add(steps, ordering: .relaxed) }

  /// Sets it.
  public func set(_ steps: Int) { value.store(steps, ordering: .relaxed) }

  /// Sets it if it would grow.
  public func raise(to steps: Int) { value.max(steps, ordering: .relaxed) }

  /// The number now.
  public var steps: Int { value.load(ordering: .relaxed) }

  func write(_ name: String, _ labels: String, into text: inout String) {
    text += line(name, labels, "\(steps)")
  }
}

/// A number that is asked for when it is read.
final class Sampled: Source {
  private let read: @Sendable () -> Double

  init(read: @escaping @Sendable () -> Double) { self.read = read }

  func write(_ name: String, _ labels: String, into text: inout String) {
    text += line(name, labels, number(read()))
  }
}

/// A distribution over buckets.
public final class Histogram: Source {
  /// An atomic on the heap, so that an array can hold several.
  private final class Cell: Sendable { let value = Atomic<Int>(0) }

  private let bounds: [Double]
  private let steps: [Int]
  private let cells: [Cell]
  private let total = Atomic<Int>(0)
  private let scale: Double

  init(bounds: [Double], scale: Double) {
    self.bounds = bounds
    self.scale = scale
    steps = bounds.map { Int(($0 / scale).rounded()) }
    cells = (0...bounds.count).map { _ in Cell() }
  }

  /// Counts one observation, in steps.
  public func observe(_ value: Int) {
    cells[steps.firstIndex { value <= $0 } ?? steps.count].value.add(1, ordering: .relaxed)
    total.add(value, ordering: .relaxed)
  }

  /// Counts one observed duration; the scale must be 1e-9.
  public func observe(_ duration: Duration) {
    let (seconds, attoseconds) = duration.components
    observe(Int(seconds) * 1_000_000_000 + Int(attoseconds / 1_000_000_000))
  }

  /// Observations so far.
  public var count: Int { cells.reduce(0) { $0 + $1.value.load(ordering: .relaxed) } }

  func write(_ name: String, _ labels: String, into text: inout String) {
    let comma = labels.isEmpty ? "" : ","
    var sum = 0
    for (cell, bound) in zip(cells, bounds.map(number) + ["+Inf"]) {
      sum += cell.value.load(ordering: .relaxed)
      text += line("\(name)_bucket", "\(labels)\(comma)le=\"\(bound)\"", "\(sum)")
    }
    text += line("\(name)_sum", labels, number(Double(total.load(ordering: .relaxed)) * scale))
    text += line("\(name)_count", labels, "\(sum)")
  }
}

private func line(_ name: String, _ labels: String, _ value: String) -> String {
  labels.isEmpty ? "\(name) \(value)\n" : "\(name){\(labels)} \(value)\n"
}

/// A number as Prometheus reads it.
private func number(_ value: Double) -> String {
  if value.isNaN { return "NaN" }
  if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
  return value == value.rounded() && abs(value) < 1e15 ? "\(Int(value))" : "\(value)"
}
