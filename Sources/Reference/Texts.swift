import Glibc
import Models
import Vocabulary

extension Reference {
  /// Operators on strings.
  static let texts: [String: Operator] = [
    "StringConcat": concatenateTexts,
    "StringSplit": splitTexts,
    "StringNormalizer": normalizeTexts,
    "RegexFullMatch": matchTexts,
    "TfIdfVectorizer": termFrequencies,
  ]

  private static func words(_ x: Tensor) -> [String] {
    x.strings.map { String(decoding: $0, as: UTF8.self) }
  }

  @Sendable private static func concatenateTexts(_ call: Call) throws(ModelError) -> [Tensor?] {
    let (a, b) = (try call.input(0), try call.input(1))
    let shape = try call.broadcast([a, b])
    let first = Broadcasting.sources(of: a.shape, in: shape)
    let second = Broadcasting.sources(of: b.shape, in: shape)
    let joined = first.indices.map { a.strings[first[$0]] + b.strings[second[$0]] }
    return [Tensor(strings: joined, shape: shape)]
  }

  /// The parts of every string, filled up with empty ones, and how many there were.
  @Sendable private static func splitTexts(_ call: Call) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    let delimiter = call.node.string("delimiter", default: "")
    let most = max(0, call.int("maxsplit", default: .max))
    let parts = words(x).map { word -> [String] in
      if delimiter.isEmpty {
        let split = word.split(
          maxSplits: most, omittingEmptySubsequences: true, whereSeparator: \.isWhitespace)
        // What is left after the last split keeps its inner blanks but not its outer ones.
        return split.map(trimmed).filter { !$0.isEmpty }
      }
      var (rest, pieces) = (word[...], [String]())
      while pieces.count < most, let place = rest.firstRange(of: delimiter) {
        pieces.append(String(rest[..<place.lowerBound]))
        rest = rest[place.upperBound...]
      }
      return pieces + [String(rest)]
    }
    let width = parts.map(\.count).max() ?? 0
    let filled = parts.flatMap { $0 + [String](repeating: "", count: width - $0.count) }
    return [
      Tensor(strings: filled.map { Array($0.utf8) }, shape: x.shape + [width]),
      .from(integers: parts.map { Int128($0.count) }, .int64, x.shape),
    ]
  }

  /// Drops stop words and changes the case.
  @Sendable private static func normalizeTexts(_ call: Call) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    let casing = call.node.string("case_change_action", default: "NONE")
    let sensitive = call.int("is_case_sensitive", default: 0) != 0
    var stops: [String] = []
    if case .strings(let words)? = call.node.attributes["stopwords"] { stops = words }
    func changed(_ word: String) -> String {
      switch casing {
      case "LOWER": word.lowercased()
      case "UPPER": word.uppercased()
      default: word
      }
    }
    let dropped = Set(sensitive ? stops : stops.map { $0.lowercased() })
    let kept = words(x).filter { !dropped.contains(sensitive ? $0 : $0.lowercased()) }
    let result = kept.isEmpty ? [""] : kept.map(changed)
    guard x.shape.count == 1 || (x.shape.count == 2 && x.shape[0] == 1) else {
      throw call.error("a vector of strings is needed, not \(x.shape).")
    }
    return [
      Tensor(strings: result.map { Array($0.utf8) }, shape: x.shape.dropLast() + [result.count])
    ]
  }

  @Sendable private static func matchTexts(_ call: Call) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    let pattern = call.node.string("pattern", default: "")
    guard let regex = try? Regex(pattern) else {
      throw call.error("'\(pattern)' is no regular expression.")
    }
    // As RE2 has them: words are of ASCII letters, and end where such letters do.
    let plain = regex.wordBoundaryKind(.simple).asciiOnlyCharacterClasses()
    let matches = words(x).map { ((try? plain.wholeMatch(in: $0)) ?? nil) != nil }
    return [.from(truths: matches, x.shape)]
  }

  /// Counts n-grams, whose items may lie apart, and weights the counts.
  @Sendable private static func termFrequencies(_ call: Call) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    let node = call.node
    guard let starts = call.ints("ngram_counts"), let columns = call.ints("ngram_indexes"),
      let width = columns.max().map({ $0 + 1 }), (1...2).contains(x.shape.count)
    else { throw call.error("ngram_counts and ngram_indexes are needed.") }
    var pool: [String] = node.ints("pool_int64s")?.map { "\($0)" } ?? []
    if case .strings(let words)? = node.attributes["pool_strings"] { pool = words }
    let items = x.type == .string ? words(x) : x.integers().map { "\($0)" }
    let lengths = call.int("min_gram_length", default: 1)
    let longest = call.int("max_gram_length", default: 1)
    let skips = call.int("max_skip_count", default: 0)
    let sizes = zip(starts, starts.dropFirst() + [pool.count]).enumerated().map { size, place in
      (place.1 - place.0) % (size + 1) == 0 ? (place.1 - place.0) / (size + 1) : -1
    }
    guard sizes.allSatisfy({ $0 >= 0 }), starts.first == 0, sizes.reduce(0, +) == columns.count,
      columns.allSatisfy({ $0 >= 0 }), (0...1 << 16).contains(skips),
      node.floats("weights")?.count ?? columns.count == columns.count
    else { throw call.error("ngram_counts, ngram_indexes, weights and the pool do not fit.") }
    _ = try call.sized([width])
    let length = x.shape[x.shape.count - 1]
    let rows = x.shape.count == 2 ? x.shape[0] : 1
    _ = try call.sized([rows, width])
    var counts = [Double](repeating: 0, count: rows * width)
    var weights = [Double](repeating: 1, count: width)
    var known = 0
    for size in 1...starts.count {
      let end = size < starts.count ? starts[size] : pool.count
      let grams = stride(from: starts[size - 1], to: end, by: size).map {
        Array(pool[$0..<$0 + size])
      }
      for (place, gram) in grams.enumerated() {
        let column = columns[known + place]
        if let given = node.floats("weights") { weights[column] = Double(given[known + place]) }
        guard size >= lengths, size <= longest else { continue }
        for row in 0..<rows {
          for step in 1...(size == 1 ? 1 : skips + 1) {
            for start in 0..<max(0, length - (size - 1) * step) {
              let found = (0..<size).map { items[row * length + start + $0 * step] }
              if found == gram { counts[row * width + column] += 1 }
            }
          }
        }
      }
      known += grams.count
    }
    let mode = node.string("mode", default: "TF")
    let result = counts.enumerated().map { place, count in
      let weight = weights[place % width]
      return mode == "TF" ? count : mode == "IDF" ? (count > 0 ? weight : 0) : count * weight
    }
    return [.from(reals: result, .float32, x.shape.dropLast() + [width])]
  }
}

/// Without the blanks at either end.
private func trimmed(_ text: Substring) -> String {
  guard let first = text.firstIndex(where: { !$0.isWhitespace }),
    let last = text.lastIndex(where: { !$0.isWhitespace })
  else { return "" }
  return String(text[first...last])
}
