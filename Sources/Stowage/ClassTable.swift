#if canImport(Glibc)
  import Glibc
#endif

/// The best classes of an output as a table with bars, for people.
struct ClassTable {
  /// The output.
  let output: InferAnswer.Output
  /// The rows of each sample.
  let top: Int

  /// The lines of the table, the heading first.
  var lines: [String] {
    let heading = "\(output.name)  \(output.datatype) \(output.shape)"
    if !output.strings.isEmpty {
      return [heading] + output.strings.prefix(top).map { "  \($0)" }
    }
    guard isClasses else { return [heading + "  " + plain(output.values)] }
    let samples = output.shape.count > 1 ? output.shape[0] : 1
    let width = output.values.count / max(samples, 1)
    var lines: [String] = []
    for sample in 0..<samples {
      let values = Array(output.values[sample * width..<(sample + 1) * width])
      let areProbabilities = Self.areProbabilities(values)
      lines.append(
        heading + (areProbabilities ? "" : "  as softmax")
          + (samples > 1 ? "  sample \(sample)" : ""))
      lines += rows(areProbabilities ? values : Self.softmax(values))
    }
    return lines
  }

  /// Whether the output reads as scores of classes: floats, at least two of them a sample.
  private var isClasses: Bool {
    guard output.datatype.hasPrefix("FP") || output.datatype == "BF16" else { return false }
    let significant = output.shape.dropFirst(output.shape.count > 1 ? 1 : 0).filter { $0 != 1 }
    return significant.count == 1 && output.values.allSatisfy(\.isFinite)
      && !output.values.isEmpty
  }

  private func plain(_ values: [Double]) -> String {
    let shown = values.prefix(max(top, 8)).map { value in
      value == value.rounded() && abs(value) < 1e15 ? "\(Int(value))" : "\(value)"
    }
    return shown.joined(separator: " ") + (values.count > shown.count ? " …" : "")
  }

  private func rows(_ probabilities: [Double]) -> [String] {
    let order = probabilities.indices.sorted {
      (probabilities[$1], $0) < (probabilities[$0], $1)
    }
    let digits = String(probabilities.count - 1).count
    return order.prefix(top).map { index in
      let label = Self.padded(String(index), to: digits + 2)
      let percent = Self.padded(Self.percent(probabilities[index]), to: 8)
      return "\(label) \(percent) %  \(Self.bar(probabilities[index]))"
    }
  }

  /// Whether numbers can be probabilities as they are.
  static func areProbabilities(_ values: [Double]) -> Bool {
    values.allSatisfy { (0...1).contains($0) } && abs(values.reduce(0, +) - 1) < 1e-3
  }

  /// exp(x) / Σ exp(x), without overflow.
  static func softmax(_ values: [Double]) -> [Double] {
    let highest = values.max() ?? 0
    let powers = values.map { exp($0 - highest) }
    let sum = powers.reduce(0, +)
    return powers.map { $0 / sum }
  }

  /// A probability in eighths of a character, 24 characters for 1.
  static func bar(_ probability: Double) -> String {
    let eighths = Int((probability * 192).rounded())
    let parts = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"]
    return String(repeating: "█", count: eighths / 8) + parts[eighths % 8]
  }

  private static func percent(_ probability: Double) -> String {
    let hundredths = Int((probability * 10_000).rounded())
    let rest = String(hundredths % 100)
    return "\(hundredths / 100)." + (rest.count < 2 ? "0" : "") + rest
  }

  private static func padded(_ text: String, to width: Int) -> String {
    String(repeating: " ", count: max(0, width - text.count)) + text
  }
}
