import Models
import Testing
import Vocabulary

@testable import Reference

@Suite("Reference: operands that do not fit are refused")
struct TypeBindingsTests {
  @Test("Inputs of one type variable must be of one type")
  func mixed() throws {
    let (x, y) = (floats([1, 2], [2]), integers([1, 2], [2]))
    for operation in ["Add", "Concat", "Equal", "Max", "PRelu"] {
      #expect(throws: ModelError.self, "\(operation)") {
        try apply(operation, [x, y], ["axis": .int(0)])
      }
    }
    #expect(throws: ModelError.self) { try apply("Where", [x, x, y]) }
    #expect(try apply("Pow", [x, y]).floats() == [1, 4])
  }

  @Test("Operators on strings take no numbers")
  func numbersForStrings() {
    for operation in ["StringSplit", "StringNormalizer", "RegexFullMatch"] {
      #expect(throws: ModelError.self, "\(operation)") {
        try apply(operation, [floats([1, 2], [2])], ["pattern": .string("a")])
      }
    }
  }

  @Test("Numbers beyond 64 bits of an index are no such index")
  func hugeIndices() {
    let huge = Tensor.from(integers: [.max], .uint64, [1])
    #expect(throws: ModelError.self) {
      try apply("NegativeLogLikelihoodLoss", [floats([1, 2], [1, 2]), huge])
    }
    let cache = floats([1, 1], [2, 1])
    let positions = Tensor.from(integers: [.max], .uint64, [1, 1])
    #expect(throws: ModelError.self) {
      try apply(
        "RotaryEmbedding", [floats([1, 2], [1, 1, 1, 2]), cache, cache, positions], [:])
    }
  }

  @Test("Scalars have no axis to be joined along")
  func scalars() {
    #expect(throws: ModelError.self) {
      try apply("Concat", [floats([1], []), floats([2], [])], ["axis": .int(0)])
    }
  }

  @Test("A plane without rows is sampled as the padding")
  func emptyPlane() throws {
    let x = floats([], [1, 1, 0, 2])
    let grid = floats([0, 0], [1, 1, 1, 2])
    for padding in ["zeros", "border", "reflection"] {
      let y = try apply("GridSample", [x, grid], ["padding_mode": .string(padding)])
      #expect(y.floats() == [0])
    }
  }
}
