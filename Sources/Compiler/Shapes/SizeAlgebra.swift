import Models

/// Arithmetic on dimensions, some of which are symbols.
///
/// Results get canonical names, so that sizes computed in two ways that come to the same are equal:
/// products keep their sorted factors, sums their terms; a division that leaves a rest becomes a
/// symbol of its own, named after its operands. Fixed sizes that overflow are held at `huge`,
/// which the check of a tensor's elements refuses.
final class SizeAlgebra {
  /// A size that no tensor can have.
  static let huge = Int.max >> 8

  /// A coefficient and sorted symbols, multiplied.
  struct Product: Hashable {
    var coefficient: Int
    var factors: [String]
  }

  private var products: [String: Product] = [:]
  private var sums: [String: [Product]] = [:]
  /// For each composed symbol, the symbols of the inputs that it depends on.
  private var roots: [String: Set<String>] = [:]

  /// The sum of two sizes.
  func add(_ left: Dimension, _ right: Dimension) -> Dimension {
    if case .fixed(let a) = left, case .fixed(let b) = right {
      return .fixed(held(a.addingReportingOverflow(b)))
    }
    return sum(of: terms(left) + terms(right))
  }

  /// The difference of two sizes.
  func subtract(_ left: Dimension, _ right: Dimension) -> Dimension {
    let negated = terms(right).map { term in
      Product(
        coefficient: held(term.coefficient.multipliedReportingOverflow(by: -1)),
        factors: term.factors)
    }
    return sum(of: terms(left) + negated)
  }

  /// The product of two sizes.
  func multiply(_ left: Dimension, _ right: Dimension) -> Dimension {
    if case .fixed(let a) = left, case .fixed(let b) = right {
      return .fixed(held(a.multipliedReportingOverflow(by: b)))
    }
    let (a, b) = (product(left), product(right))
    return name(
      Product(
        coefficient: held(a.coefficient.multipliedReportingOverflow(by: b.coefficient)),
        factors: (a.factors + b.factors).sorted()))
  }

  /// The product of many sizes.
  func multiply(_ sizes: some Sequence<Dimension>) -> Dimension {
    sizes.reduce(.fixed(1)) { multiply($0, $1) }
  }

  /// The quotient, when the division provably leaves no rest.
  func divideExactly(_ left: Dimension, by right: Dimension) -> Dimension? {
    let divisor = product(right)
    guard divisor.coefficient != 0 else { return nil }
    var quotient = product(left)
    for factor in divisor.factors {
      guard let place = quotient.factors.firstIndex(of: factor) else { return nil }
      quotient.factors.remove(at: place)
    }
    guard quotient.coefficient % divisor.coefficient == 0 else { return nil }
    quotient.coefficient /= divisor.coefficient
    return name(quotient)
  }

  /// The quotient rounded down; the divisor must not be zero.
  func divide(_ left: Dimension, by right: Dimension) -> Dimension {
    if case .fixed(let a) = left, case .fixed(let b) = right {
      let (quotient, rest) = held((a, false)).quotientAndRemainder(dividingBy: held((b, false)))
      return .fixed(rest != 0 && (rest < 0) != (b < 0) ? quotient - 1 : quotient)
    }
    if let exact = divideExactly(left, by: right) { return exact }
    if case .fixed(let divisor) = right {
      // Terms that divide evenly leave the rounding to the constant alone.
      let all = terms(left)
      let constant = all.first { $0.factors.isEmpty }?.coefficient ?? 0
      let rest = all.filter { !$0.factors.isEmpty }
      if rest.allSatisfy({ $0.coefficient % divisor == 0 }) {
        let divided = rest.map {
          Product(coefficient: $0.coefficient / divisor, factors: $0.factors)
        }
        return add(sum(of: divided), divide(.fixed(constant), by: right))
      }
    }
    return compose("\(text(left))/\(text(right))", from: [left, right])
  }

  /// The quotient rounded up; the divisor must not be zero.
  func divideRoundingUp(_ left: Dimension, by right: Dimension) -> Dimension {
    divide(add(left, subtract(right, .fixed(1))), by: right)
  }

  /// The size of two dimensions broadcast against each other, or nil when they do not fit.
  func broadcast(_ left: Dimension, _ right: Dimension) -> Dimension? {
    if left == right || right == .fixed(1) { return left }
    if left == .fixed(1) { return right }
    switch (left, right) {
    case (.fixed, .fixed): return nil
    case (.fixed, .symbol): return left
    case (.symbol, .fixed): return right
    case (.symbol, .symbol):
      let names = [text(left), text(right)].sorted()
      return compose("broadcast(\(names[0]),\(names[1]))", from: [left, right])
    }
  }

  /// A symbol that stands for a computation on other sizes.
  func compose(_ name: String, from sizes: [Dimension]) -> Dimension {
    roots[name] = sizes.reduce(into: []) { $0.formUnion(self.roots(of: $1)) }
    return .symbol(name)
  }

  /// Whether a size changes with the symbol.
  func depends(_ size: Dimension, on symbol: String) -> Bool { roots(of: size).contains(symbol) }

  /// How often the symbol is in a size: `k` of `k * symbol`, where `k` does not depend on it.
  func multiple(of symbol: String, in size: Dimension) -> Dimension? {
    guard let multiple = divideExactly(size, by: .symbol(symbol)),
      !depends(multiple, on: symbol)
    else { return nil }
    return multiple
  }

  private func roots(of size: Dimension) -> Set<String> {
    guard case .symbol(let symbol) = size else { return [] }
    return roots[symbol] ?? [symbol]
  }

  private func product(_ size: Dimension) -> Product {
    switch size {
    case .fixed(let value): Product(coefficient: value, factors: [])
    case .symbol(let symbol): products[symbol] ?? Product(coefficient: 1, factors: [symbol])
    }
  }

  private func terms(_ size: Dimension) -> [Product] {
    if case .symbol(let symbol) = size, let terms = sums[symbol] { return terms }
    return [product(size)]
  }

  private func name(_ product: Product) -> Dimension {
    if product.factors.isEmpty || product.coefficient == 0 { return .fixed(product.coefficient) }
    if product.coefficient == 1, product.factors.count == 1 { return .symbol(product.factors[0]) }
    let parts = (product.coefficient == 1 ? [] : ["\(product.coefficient)"]) + product.factors
    let name = parts.joined(separator: "*")
    products[name] = product
    return compose(name, from: product.factors.map(Dimension.symbol))
  }

  private func sum(of terms: [Product]) -> Dimension {
    var coefficients: [[String]: Int] = [:]
    for term in terms {
      let known = coefficients[term.factors] ?? 0
      coefficients[term.factors] = held(known.addingReportingOverflow(term.coefficient))
    }
    let kept = coefficients.filter { $0.value != 0 }
      .map { Product(coefficient: $0.value, factors: $0.key) }
      .sorted { ($0.factors.count, $0.factors.joined()) > ($1.factors.count, $1.factors.joined()) }
    guard kept.count > 1 else { return kept.first.map { name($0) } ?? .fixed(0) }
    let parts = kept.map { term in text(name(term)) }
    let symbol = "(" + parts.joined(separator: "+") + ")"
    sums[symbol] = kept
    return compose(symbol, from: kept.map { name($0) })
  }

  private func text(_ size: Dimension) -> String {
    switch size {
    case .fixed(let value): "\(value)"
    case .symbol(let symbol): symbol
    }
  }

  private func held(_ result: (partialValue: Int, overflow: Bool)) -> Int {
    guard !result.overflow else { return Self.huge }
    return min(max(result.partialValue, -Self.huge), Self.huge)
  }
}
