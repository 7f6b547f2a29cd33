import Threads

/// Every metric of a process, in the order of registration, as Prometheus reads it.
///
/// Updating a metric is an atomic addition; only registering and reading take a lock.
public final class Registry: Sendable {
  /// Names and values of labels, in the order in which they are written.
  public typealias Labels = [(name: String, value: String)]

  enum Kind: String {
    case counter
    case gauge
    case histogram
  }

  /// All metrics of one name.
  struct Family {
    var name: String
    var help: String
    var kind: Kind
    var series: [(labels: Labels, source: any Source)] = []
  }

  private let families = Lock<[Family]>([])

  /// An empty registry.
  public init() {}

  /// A number that only grows.
  ///
  /// - Parameter scale: What one step of the counter is worth in the unit of its name, such as 1e-9
  ///   for a counter of nanoseconds that is shown in seconds.
  public func counter(
    _ name: String, _ help: String, labels: Labels = [], scale: Double = 1
  ) -> Counter {
    let counter = Counter(scale: scale)
    add(counter, name, help, .counter, labels)
    return counter
  }

  /// A number that grows and shrinks.
  public func gauge(_ name: String, _ help: String, labels: Labels = []) -> Gauge {
    let gauge = Gauge()
    add(gauge, name, help, .gauge, labels)
    return gauge
  }

  /// A number that is asked for whenever the metrics are read.
  public func sampled(
    _ name: String, _ help: String, labels: Labels = [], isCounter: Bool = false,
    _ read: @escaping @Sendable () -> Double
  ) {
    add(Sampled(read: read), name, help, isCounter ? .counter : .gauge, labels)
  }

  /// A distribution over buckets.
  ///
  /// - Parameters:
  ///   - bounds: The upper bounds of the buckets, ascending, in the unit of the name.
  ///   - scale: What one step of an observation is worth in that unit.
  public func histogram(
    _ name: String, _ help: String, labels: Labels = [], bounds: [Double], scale: Double = 1
  ) -> Histogram {
    let histogram = Histogram(bounds: bounds, scale: scale)
    add(histogram, name, help, .histogram, labels)
    return histogram
  }

  /// Drops every series with a label of this value, as when a model is removed.
  public func remove(label name: String, value: String) {
    families.withLock { families in
      for index in families.indices {
        families[index].series.removeAll { series in
          series.labels.contains { $0.name == name && $0.value == value }
        }
      }
    }
  }

  /// All metrics in the text format of Prometheus, version 0.0.4.
  public func text() -> [UInt8] {
    var text = ""
    for family in families.withLock({ $0 }) where !family.series.isEmpty {
      text += "# HELP \(family.name) \(escaped(family.help, quotes: false))\n"
      text += "# TYPE \(family.name) \(family.kind.rawValue)\n"
      for series in family.series {
        series.source.write(family.name, Self.format(series.labels), into: &text)
      }
    }
    return Array(text.utf8)
  }

  private func add(
    _ source: any Source, _ name: String, _ help: String, _ kind: Kind, _ labels: Labels
  ) {
    families.withLock { families in
      if let place = families.firstIndex(where: { $0.name == name }) {
        families[place].series.append((labels, source))
      } else {
        families.append(Family(name: name, help: help, kind: kind, series: [(labels, source)]))
      }
    }
  }

  private static func format(_ labels: Labels) -> String {
    labels.map { "\($0.name)=\"\(escaped($0.value, quotes: true))\"" }.joined(separator: ",")
  }
}

/// Backslashes and line ends, and in label values quotes, as the text format wants them.
private func escaped(_ text: String, quotes: Bool) -> String {
  var result = ""
  for character in text {
    switch character {
    case "\\": result += "\\\\"
    case "\n": result += "\\n"
    case "\"" where quotes: result += "\\\""
    default: result.append(character)
    }
  }
  return result
}
