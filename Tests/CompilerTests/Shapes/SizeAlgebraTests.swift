import Models
import Testing

@testable import Compiler

@Suite("Arithmetic on sizes")
struct SizeAlgebraTests {
  private let sizes = SizeAlgebra()

  @Test("Sizes computed in different ways that come to the same are equal")
  func canonical() {
    #expect(sizes.multiply("N", "H") == sizes.multiply("H", "N"))
    #expect(sizes.add(sizes.add("N", 1), "H") == sizes.add(sizes.add("H", "N"), 1))
    #expect(sizes.subtract(sizes.add("N", "H"), "H") == "N")
    #expect(sizes.subtract("N", "N") == 0)
    let area = sizes.multiply(sizes.multiply("N", 4), "H")
    #expect(sizes.divideExactly(area, by: sizes.multiply("H", 2)) == sizes.multiply("N", 2))
  }

  @Test("Division rounds down and says so when there is a rest")
  func division() {
    #expect(sizes.divide(7, by: 2) == 3)
    #expect(sizes.divide(-1, by: 2) == -1)
    #expect(sizes.divideRoundingUp(7, by: 2) == 4)
    #expect(sizes.divide(sizes.add(sizes.multiply("H", 2), 1), by: 2) == "H")
    #expect(sizes.divideExactly("H", by: 2) == nil)
    #expect(sizes.divide("H", by: 2) == sizes.divide("H", by: 2))
    #expect(sizes.divide("H", by: 2) != sizes.divide("W", by: 2))
  }

  @Test("Composed sizes know what they depend on")
  func dependence() {
    let half = sizes.divide(sizes.add("H", 1), by: 2)
    #expect(sizes.depends(half, on: "H"))
    #expect(!sizes.depends(half, on: "N"))
    #expect(sizes.multiple(of: "N", in: sizes.multiply("N", half)) == half)
    #expect(sizes.multiple(of: "N", in: sizes.multiply("N", "N")) == nil)
    #expect(sizes.multiple(of: "N", in: sizes.add("N", 1)) == nil)
  }

  @Test("Sizes too large to count are held instead of trapping")
  func overflow() {
    #expect(sizes.multiply(.fixed(.max), .fixed(.max)) == .fixed(SizeAlgebra.huge))
    #expect(sizes.add(.fixed(.max), .fixed(.max)) == .fixed(SizeAlgebra.huge))
    #expect(sizes.subtract(0, .fixed(.min)) == .fixed(SizeAlgebra.huge))
    #expect(sizes.divide(.fixed(.min), by: -1) == .fixed(SizeAlgebra.huge))
  }
}
