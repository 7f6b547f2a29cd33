import Foundation
import Models
import Testing
import Vocabulary

@testable import Reference

@Suite("Reference: scattering, selecting, naming indices")
struct SelectionTests {
  @Test("Scattering what was gathered gives it back")
  func scatterGather() throws {
    var random = Seeded(8)
    let x = random.tensor([3, 4])
    let order = integers([2, 0, 1, 1, 1, 2, 0, 0, 0, 1, 2, 2], [3, 4])
    let axis: [String: Attribute] = ["axis": .int(0)]
    let gathered = try apply("GatherElements", [x, order], axis)
    let empty = floats([Float](repeating: 0, count: 12), [3, 4])
    let back = try apply("ScatterElements", [empty, order, gathered], axis)
    #expect(back.floats() == x.floats())
  }

  @Test("Updates of one element add up when told")
  func reductions() throws {
    let x = integers([1, 1, 1], [3])
    let picks = integers([1, 1, -1], [3, 1])
    let sum = try apply(
      "ScatterND", [x, picks, integers([5, 6, 7], [3])], ["reduction": .string("add")])
    #expect(sum.integers() == [1, 12, 8])
    #expect(throws: ModelError.self) {
      try apply("ScatterND", [x, integers([3], [1, 1]), integers([5], [1])])
    }
  }

  @Test("An equation says which indices are summed")
  func einsum() throws {
    var random = Seeded(2)
    let (a, b) = (random.tensor([2, 3, 4]), random.tensor([2, 4, 5]))
    func einsum(_ equation: String, _ inputs: [Tensor]) throws -> Tensor {
      try apply("Einsum", inputs, ["equation": .string(equation)])
    }
    let product = try apply("MatMul", [a, b])
    expectClose(try einsum("bij, bjk -> bik", [a, b]), product)
    expectClose(try einsum("...ij,...jk", [a, b]), product)
    expectClose(
      try einsum("bij->bji", [a]), try apply("Transpose", [a], ["perm": .ints([0, 2, 1])]))
    #expect(try einsum("ii", [floats([1, 2, 3, 4], [2, 2])]).floats() == [5])
    #expect(throws: ModelError.self) { try einsum("ij,jk->ik", [a, b]) }
  }

  @Test("Distinct slices come with where they are and how often")
  func unique() throws {
    let outputs = try applyAll("Unique", [integers([2, 1, 1, 3, 4, 3], [6])], outputs: 4)
    #expect(outputs[0].integers() == [1, 2, 3, 4])
    #expect(outputs[1].integers() == [1, 0, 3, 4])
    #expect(outputs[2].integers() == [1, 0, 0, 2, 3, 2])
    #expect(outputs[3].integers() == [2, 1, 2, 1])
    let first = try apply("Unique", [integers([2, 1, 1], [3])], ["sorted": .int(0)])
    #expect(first.integers() == [2, 1])
  }

  @Test("A Fourier transform is undone by its inverse, halves included", arguments: [5, 8])
  func fourier(length: Int) throws {
    var random = Seeded(6)
    let x = random.tensor([2, length, 1])
    for half in [0, 1] {
      let there = try apply("DFT", [x], opset: 20, ["onesided": .int(half)])
      #expect(there.shape == [2, half == 1 ? length / 2 + 1 : length, 2])
      let back = try apply(
        "DFT", [there, integers([length], [])], opset: 20,
        ["onesided": .int(half), "inverse": .int(1)])
      let real = back.reals().enumerated().filter { half == 1 || $0.offset % 2 == 0 }
      expectClose(.from(reals: real.map(\.element), .float32, x.shape), x)
    }
  }

  @Test("Strings are split, normalised, matched and counted")
  func strings() throws {
    let split = try applyAll(
      "StringSplit", [texts(["a,b,c", "d"], [2])], outputs: 2, ["delimiter": .string(",")])
    #expect(words(split[0]) == ["a", "b", "c", "d", "", ""])
    #expect(split[1].integers() == [3, 1])
    let lower = try apply(
      "StringNormalizer", [texts(["Monday", "TUE"], [2])],
      ["case_change_action": .string("LOWER"), "stopwords": .strings(["monday"])])
    #expect(words(lower) == ["tue"])
    let matches = try apply(
      "RegexFullMatch", [texts(["ab1", "xab1"], [2])], ["pattern": .string("[a-c]+\\d")])
    #expect(matches.truths() == [true, false])
    let counts = try apply(
      "TfIdfVectorizer", [integers([1, 2, 1, 2], [4])],
      [
        "mode": .string("TF"), "min_gram_length": .int(1), "max_gram_length": .int(2),
        "max_skip_count": .int(0), "ngram_counts": .ints([0, 1]), "ngram_indexes": .ints([0, 1]),
        "pool_int64s": .ints([1, 1, 2]),
      ])
    #expect(counts.floats() == [2, 2])
  }

  @Test("The loss of even odds is the logarithm of their number")
  func loss() throws {
    let x = floats([Float](repeating: 0, count: 12), [3, 4])
    let labels = integers([0, 3, 2], [3])
    let loss = try apply("SoftmaxCrossEntropyLoss", [x, labels])
    #expect(abs(loss.reals()[0] - log(4)) < 1e-6)
    let ignoring = try apply(
      "SoftmaxCrossEntropyLoss", [x, labels],
      ["ignore_index": .int(3), "reduction": .string("none")])
    #expect(ignoring.floats()[1] == 0)
  }
}
