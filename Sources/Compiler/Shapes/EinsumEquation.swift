import Models

/// The equation of an Einsum, such as `bij,bjk->bik`.
struct EinsumEquation {
  private let terms: [[Character]]
  private let result: [Character]?

  init(_ facts: NodeFacts) throws(ModelError) {
    let equation = facts.node.string("equation", default: "").filter { $0 != " " }
    let sides = equation.split(separator: ">", omittingEmptySubsequences: false)
    let left = sides[0].hasSuffix("-") ? sides[0].dropLast() : sides[0]
    terms = left.split(separator: ",", omittingEmptySubsequences: false).map(Array.init)
    result = sides.count > 1 ? Array(sides[1]) : nil
    guard sides.count <= 2, terms.count == facts.inputs.count else {
      throw facts.refusal("has the equation '\(equation)' for \(facts.inputs.count) inputs")
    }
  }

  /// One label per axis of each input and of the output; the axes of an ellipsis get numbers,
  /// counted from the last.
  func labels(
    ranks: [Int], _ facts: NodeFacts
  ) throws(ModelError) -> (inputs: [[String]], output: [String]) {
    var inputs: [[String]] = []
    var widest = 0
    for (term, rank) in zip(terms, ranks) {
      let open = rank - term.filter { $0 != "." }.count
      let hasEllipsis = term.contains(".")
      guard open >= 0, hasEllipsis || open == 0 else {
        throw facts.refusal("has an equation that does not fit an input of \(rank) dimensions")
      }
      widest = max(widest, open)
      inputs.append(expand(term, ellipsis: open))
    }
    if let result { return (inputs, expand(result, ellipsis: widest)) }
    let all = terms.flatMap { $0 }.filter { $0 != "." }
    let single = Set(all).filter { label in all.filter { $0 == label }.count == 1 }.sorted()
    let ellipsis =
      terms.contains { $0.contains(".") } ? expand([".", ".", "."], ellipsis: widest) : []
    return (inputs, ellipsis + single.map(String.init))
  }

  private func expand(_ term: [Character], ellipsis: Int) -> [String] {
    var labels: [String] = []
    var dots = 0
    for character in term {
      if character == "." {
        dots += 1
        if dots == 1 { labels += (0..<ellipsis).map { "\(ellipsis - $0)" } }
      } else {
        labels.append(String(character))
      }
    }
    return labels
  }
}
