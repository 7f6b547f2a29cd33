import Models
import Vocabulary

extension Reference {
  /// Sums over indices named in an equation.
  static let einsums: [String: Operator] = ["Einsum": einsum]

  @Sendable private static func einsum(_ call: Call) throws(ModelError) -> [Tensor?] {
    var operands: [Tensor] = []
    for index in call.inputs.indices { operands.append(try call.input(index)) }
    let equation = call.node.string("equation", default: "").filter { $0 != " " }
    let sum = try EinsteinSum(equation, operands.map(\.shape), call)
    let values = operands.map { $0.reals() }
    _ = try call.sized(sum.outputShape)
    _ = try call.sized(sum.summedShape)
    var result: [Double] = []
    forEachIndex(of: sum.outputShape) { index in
      let starts = sum.outputSteps.map { steps in zip(steps, index).reduce(0) { $0 + $1.0 * $1.1 } }
      var total = 0.0
      forEachIndex(of: sum.summedShape) { inner in
        var product = 1.0
        for operand in values.indices {
          var place = starts[operand]
          for axis in inner.indices { place += inner[axis] * sum.summedSteps[operand][axis] }
          product *= values[operand][place]
        }
        total += product
      }
      result.append(total)
    }
    return [.from(reals: result, operands[0].type, sum.outputShape)]
  }
}

/// An equation such as `bij,bjk->bik` with the sizes of its labels.
///
/// Axes under an ellipsis are labelled by digits, counted from the right, and broadcast.
private struct EinsteinSum {
  private(set) var outputShape: [Int] = []
  private(set) var summedShape: [Int] = []
  /// For every operand, how far it moves for each label of the output.
  private(set) var outputSteps: [[Int]] = []
  /// For every operand, how far it moves for each label that is summed over.
  private(set) var summedSteps: [[Int]] = []

  init(_ equation: String, _ shapes: [[Int]], _ call: Call) throws(ModelError) {
    let halves = equation.split(separator: ">", omittingEmptySubsequences: false)
    let left = halves[0].last == "-" ? halves[0].dropLast() : halves[0]
    let terms = left.split(separator: ",", omittingEmptySubsequences: false)
    guard halves.count <= 2, terms.count == shapes.count, !shapes.isEmpty else {
      throw call.error("equation '\(equation)' does not fit \(shapes.count) inputs.")
    }
    var labels: [[Int]] = []
    var sizes: [Int: Int] = [:]
    var ellipsis = 0
    for (term, shape) in zip(terms, shapes) {
      let hidden = shape.count - term.count { $0 != "." }
      let named = try EinsteinSum.labels(term, hidden: hidden, call)
      guard named.count == shape.count else {
        throw call.error("term '\(term)' of '\(equation)' does not fit \(shape).")
      }
      if term.contains(".") { ellipsis = max(ellipsis, hidden) }
      for (label, size) in zip(named, shape) {
        let known = sizes[label] ?? 1
        guard known == size || known == 1 || size == 1 else {
          throw call.error("label sizes of '\(equation)' do not fit \(shapes).")
        }
        sizes[label] = max(known, size) == 1 ? size : known == 1 ? size : known
      }
      labels.append(named)
    }
    let all = labels.joined()
    let output =
      halves.count == 2
      ? try EinsteinSum.labels(halves[1], hidden: ellipsis, call)
      : Set(all).filter { label in label < 0 || all.count { $0 == label } == 1 }.sorted()
    let summed = Set(all).subtracting(output).sorted()
    guard output.allSatisfy({ sizes[$0] != nil }) else {
      throw call.error("the output of '\(equation)' names a label that no input has.")
    }
    outputShape = output.map { sizes[$0] ?? 1 }
    summedShape = summed.map { sizes[$0] ?? 1 }
    for (named, shape) in zip(labels, shapes) {
      let own = strides(of: shape)
      func step(_ label: Int) -> Int {
        named.indices.reduce(0) { $0 + (named[$1] == label && shape[$1] > 1 ? own[$1] : 0) }
      }
      outputSteps.append(output.map(step))
      summedSteps.append(summed.map(step))
    }
  }

  /// Letters by their code; axes of the ellipsis by negative numbers, the last one -1.
  private static func labels(
    _ term: Substring, hidden: Int, _ call: Call
  ) throws(ModelError) -> [Int] {
    var labels: [Int] = []
    var dots = 0
    for letter in term {
      if letter == "." {
        dots += 1
        if dots == 3 { labels += (-max(hidden, 0)..<0) }
      } else if let code = letter.asciiValue {
        labels.append(Int(code))
      } else {
        throw call.error("'\(letter)' is no label.")
      }
    }
    guard dots == 0 || dots == 3 else { throw call.error("'\(term)' has \(dots) dots.") }
    return labels
  }
}
