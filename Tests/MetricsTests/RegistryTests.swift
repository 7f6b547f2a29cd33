import Metrics
import Testing

private func lines(_ registry: Registry) -> [String] {
  String(decoding: registry.text(), as: UTF8.self).split(separator: "\n").map(String.init)
}

@Suite("Prometheus text")
struct RegistryTests {
  @Test("Counters and gauges carry help, type and labels, one family in one place")
  func families() {
    let registry = Registry()
    let first = registry.counter("a_total", "Things.", labels: [("model", "x")])
    let gauge = registry.gauge("b", "Now.")
    let second = registry.counter("a_total", "Things.", labels: [("model", "y")])
    first.add(2)
    second.add()
    gauge.add(5)
    gauge.add(-1)
    #expect(
      lines(registry) == [
        "# HELP a_total Things.", "# TYPE a_total counter", "a_total{model=\"x\"} 2",
        "a_total{model=\"y\"} 1", "# HELP b Now.", "# TYPE b gauge", "b 4",
      ])
  }

  @Test("Label values and help texts are escaped")
  func escaping() {
    let registry = Registry()
    registry.counter("a", "One\ntwo \\", labels: [("m", "q\"\\\n")]).add()
    #expect(lines(registry)[0] == "# HELP a One\\ntwo \\\\")
    #expect(lines(registry)[2] == "a{m=\"q\\\"\\\\\\n\"} 1")
  }

  @Test("A histogram's buckets add up, its sum is in the unit of its name")
  func histogram() {
    let registry = Registry()
    let histogram = registry.histogram("d_seconds", "Time.", bounds: [0.001, 0.5], scale: 1e-9)
    histogram.observe(.milliseconds(1))
    histogram.observe(.milliseconds(2))
    histogram.observe(.seconds(2))
    #expect(
      lines(registry).dropFirst(2) == [
        "d_seconds_bucket{le=\"0.001\"} 1", "d_seconds_bucket{le=\"0.5\"} 2",
        "d_seconds_bucket{le=\"+Inf\"} 3", "d_seconds_sum 2.003", "d_seconds_count 3",
      ])
  }

  @Test("Sampled numbers are read when the text is made; removed series are gone")
  func samplesAndRemoval() {
    let registry = Registry()
    registry.sampled("s", "Now.", labels: [("model", "x")]) { 1.5 }
    registry.counter("c", "Count.", labels: [("model", "y")]).add()
    #expect(lines(registry)[2] == "s{model=\"x\"} 1.5")
    registry.remove(label: "model", value: "x")
    #expect(lines(registry) == ["# HELP c Count.", "# TYPE c counter", "c{model=\"y\"} 1"])
  }
}
