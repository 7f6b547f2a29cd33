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
  @Test(
    "A hyperbolic tangent is off by 4e-7 of itself at most, and keeps what it must",
    arguments: [false, Processor.hasWideVectors])
  func tangent(isWide: Bool) {
    var elements = kernels_elements()
    elements.kind = KERNELS_TANH
    var numbers: [Float] = [0, -0.0, .infinity, -.infinity, .nan, 1e-30, 0.25, -0.2499999, 30, -89]
    for step in 0..<2003 { numbers.append((Float(step) - 1001) / 97) }
    for step in 0..<300 { numbers.append(Float(step) * 1e-3) }
    var results = [Float](repeating: 7, count: numbers.count)
    kernels_elements_run(
      &elements, numbers, numbers, &results, Int64(numbers.count), isWide)
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

  @Test("A transposed convolution to one channel, with vectors of either width", arguments: 1..<20)
  func oneOutput(width: Int) {
    var random = Seeded(width)
    let (groups, rows) = (1 + width % 3, 1 + width % 2)
    let source = random.floats(groups * width * 16)
    let weights = random.floats(rows * 2 * groups * 16)
    for isWide in [false, Processor.hasWideVectors] {
      var target = [Float](repeating: .nan, count: rows * 2 * width)
      var row = kernels_one_output()
      source.withUnsafeBufferPointer { source in
        weights.withUnsafeBufferPointer { weights in
          target.withUnsafeMutableBufferPointer { target in
            (row.source, row.weights, row.target) = (
              source.baseAddress, weights.baseAddress, target.baseAddress
            )
            (row.groups, row.group_distance) = (Int64(groups), Int64(width * 16))
            (row.width, row.window_height, row.bias) = (Int64(width), Int64(rows), 0.5)
            kernels_one_output_row(&row, isWide)
          }
        }
      }
      for (place, answer) in target.enumerated() {
        let (down, column) = place.quotientAndRemainder(dividingBy: 2 * width)
        let window = (2 * down + column % 2) * groups
        let right = (0..<groups * 16).reduce(Double(0.5)) { sum, each in
          let (group, lane) = each.quotientAndRemainder(dividingBy: 16)
          return sum + Double(source[(group * width + column / 2) * 16 + lane])
            * Double(weights[(window + group) * 16 + lane])
        }
        #expect(abs(Double(answer) - right) <= 1e-5, "wide \(isWide), place \(place)")
      }
    }
  }
}
