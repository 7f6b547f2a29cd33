import CKernels
import Glibc
import Testing

@testable import CPUBackend

@Suite("Few numbers one by one")
struct ElementsTests {
  private static let unary = [
    "Tanh", "Sqrt", "Abs", "Sigmoid", "Relu", "Silu", "Gelu", "HardSwish", "LeakyRelu", "Neg",
  ]

  @Test("Functions agree with the reference", arguments: 0..<20)
  func functions(seed: Int) throws {
    var maker = GraphMaker(seed: seed, opset: 20)
    let x = maker.input(seed < 10 ? [1 + 7 * seed] : [5, 3, seed - 8])
    let name = Self.unary[seed % 10]
    let positive = name == "Sqrt" ? maker.node("Abs", [x]) : x
    let y =
      name == "Silu"
      ? maker.node("Mul", [x, maker.node("Sigmoid", [x])]) : maker.node(name, [positive])
    let square = maker.node("Pow", [y, maker.constant([2], [])])
    try expectAgreement(maker.finish(square, y), seed: seed)
  }

  @Test("Arithmetic agrees with the reference", arguments: 0..<8)
  func arithmetic(seed: Int) throws {
    var maker = GraphMaker(seed: seed)
    let shape = seed < 4 ? [3 + 9 * seed] : [20, 4, seed]
    let (a, b) = (maker.input(shape), maker.input(shape))
    let other = maker.node("Add", [maker.node("Abs", [b]), maker.constant([0.5], [])])
    let y = maker.node(["Add", "Sub", "Mul", "Div"][seed % 4], [a, other])
    try expectAgreement(maker.finish(y), seed: seed)
  }

  /// In vectors and in the numbers that fill none.
  @Test("A hyperbolic tangent is off by 4e-7 of itself at most, and keeps what it must")
  func tangent() {
    var elements = kernels_elements()
    elements.kind = KERNELS_TANH
    var numbers: [Float] = [0, -0.0, .infinity, -.infinity, .nan, 1e-30, 0.25, -0.2499999, 30, -89]
    for step in 0..<2003 { numbers.append((Float(step) - 1001) / 97) }
    for step in 0..<300 { numbers.append(Float(step) * 1e-3) }
    var results = [Float](repeating: 7, count: numbers.count)
    kernels_elements_run(
      &elements, numbers, numbers, &results, Int64(numbers.count), Processor.hasWideVectors)
    for (x, y) in zip(numbers, results) {
      let right = Glibc.tanh(Double(x))
      if x.isNaN {
        #expect(y.isNaN)
      } else {
        #expect(abs(Double(y) - right) <= 4e-7 * abs(right), "\(x)")
        #expect(y.sign == x.sign)
      }
    }
  }
}
