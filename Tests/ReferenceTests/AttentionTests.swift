import Models
import Testing
import Vocabulary

@testable import Reference

@Suite("Reference: attention")
struct AttentionTests {
  @Test("Attention is two products around a softmax")
  func composition() throws {
    var random = Seeded(1)
    let q = random.tensor([2, 3, 4, 8])
    let (k, v) = (random.tensor([2, 3, 5, 8]), random.tensor([2, 3, 5, 6]))
    let mask = random.tensor([4, 5])
    let across = try apply("Transpose", [k], ["perm": .ints([0, 1, 3, 2])])
    let scale = floats([1 / Float(8).squareRoot()], [])
    let scores = try apply("Mul", [try apply("MatMul", [q, across]), scale])
    let weights = try apply("Softmax", [try apply("Add", [scores, mask])])
    let wanted = try apply("MatMul", [weights, v])
    expectClose(try apply("Attention", [q, k, v, mask], opset: 23), wanted)
  }

  @Test("A causal query sees nothing after itself, a masked one nothing at all")
  func masks() throws {
    var random = Seeded(2)
    let (q, k) = (random.tensor([1, 1, 3, 2]), random.tensor([1, 1, 3, 2]))
    let v = floats([1, 10, 100], [1, 1, 3, 1])
    let first = try apply("Attention", [q, k, v], opset: 23, ["is_causal": .int(1)])
    #expect(first.floats()[0] == 1)
    let blind = Tensor.from(truths: [Bool](repeating: false, count: 9), [3, 3])
    let nothing = try apply("Attention", [q, k, v, blind], opset: 23)
    #expect(nothing.floats() == [0, 0, 0])
  }

  @Test("Heads that share keys are heads with their keys repeated")
  func grouped() throws {
    var random = Seeded(3)
    let q = random.tensor([1, 4, 2, 4])
    let (k, v) = (random.tensor([1, 2, 3, 4]), random.tensor([1, 2, 3, 4]))
    let twice = integers([0, 0, 1, 1], [4])
    let axis: [String: Attribute] = ["axis": .int(1)]
    let repeated = [
      q, try apply("Gather", [k, twice], axis), try apply("Gather", [v, twice], axis),
    ]
    expectClose(
      try apply("Attention", [q, k, v], opset: 23), try apply("Attention", repeated, opset: 23))
  }

  @Test("A cache of earlier keys is as good as giving them again")
  func cache() throws {
    var random = Seeded(4)
    let q = random.tensor([1, 1, 1, 4])
    let (k, v) = (random.tensor([1, 1, 5, 4]), random.tensor([1, 1, 5, 4]))
    func rows(_ x: Tensor, _ range: Range<Int>) -> Tensor {
      .from(
        floats: Array(x.floats()[range.lowerBound * 4..<range.upperBound * 4]),
        [1, 1, range.count, 4])
    }
    let outputs = try applyAll(
      "Attention", [q, rows(k, 4..<5), rows(v, 4..<5), nil, rows(k, 0..<4), rows(v, 0..<4)],
      outputs: 3, opset: 23)
    expectClose(outputs[0], try apply("Attention", [q, k, v], opset: 23))
    expectClose(outputs[1], k, within: 0)
  }

  @Test("Rotary positions turn pairs and keep their length")
  func rotation() throws {
    var random = Seeded(5)
    let x = random.tensor([1, 2, 3, 4])
    let angles = random.floats(6).map { Double($0) * 3 }
    let cosines = try apply("Cos", [.from(reals: angles, .float32, [3, 2])])
    let sines = try apply("Sin", [.from(reals: angles, .float32, [3, 2])])
    let positions = integers([0, 1, 2], [1, 3])
    let y = try apply("RotaryEmbedding", [x, cosines, sines, positions], opset: 23)
    for head in 0..<6 {
      for pair in 0..<2 {
        func length(_ t: Tensor) -> Float {
          let (a, b) = (t.floats()[head * 4 + pair], t.floats()[head * 4 + pair + 2])
          return a * a + b * b
        }
        #expect(abs(length(x) - length(y)) < 1e-5)
      }
    }
  }

  @Test("Linear attention without gates sums keys times values")
  func linear() throws {
    let q = floats([1, 1], [1, 2, 1])
    let (k, v) = (floats([2, 3], [1, 2, 1]), floats([5, 7], [1, 2, 1]))
    let outputs = try applyAll(
      "LinearAttention", [q, k, v], outputs: 2, opset: 27,
      [
        "q_num_heads": .int(1), "kv_num_heads": .int(1), "scale": .float(1),
        "update_rule": .string("linear"),
      ])
    #expect(outputs[0].floats() == [10, 31])
    #expect(outputs[1].floats() == [31])
  }
}
