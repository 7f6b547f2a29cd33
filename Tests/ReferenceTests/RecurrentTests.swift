import Foundation
import Models
import Testing
import Vocabulary

@testable import Reference

@Suite("Reference: recurrent networks")
struct RecurrentTests {
  @Test("One step of an LSTM is its textbook formula")
  func oneStep() throws {
    // One unit, gates in order input, output, forget, cell.
    let w = floats([0.1, 0.2, 0.3, 0.4], [1, 4, 1])
    let r = floats([0.5, 0.6, 0.7, 0.8], [1, 4, 1])
    let (h, c) = (floats([0.25], [1, 1, 1]), floats([-0.5], [1, 1, 1]))
    let outputs = try applyAll(
      "LSTM", [floats([2], [1, 1, 1]), w, r, nil, nil, h, c], outputs: 3,
      ["hidden_size": .int(1)])
    func sigmoid(_ x: Double) -> Double { 1 / (1 + exp(-x)) }
    let cell = sigmoid(0.6 + 0.175) * -0.5 + sigmoid(0.2 + 0.125) * tanh(0.8 + 0.2)
    #expect(abs(outputs[2].reals()[0] - cell) < 1e-6)
    #expect(abs(outputs[1].reals()[0] - sigmoid(0.4 + 0.15) * tanh(cell)) < 1e-6)
  }

  @Test("Backwards is forwards on the turned sequence", arguments: ["RNN", "GRU", "LSTM"])
  func directions(operation: String) throws {
    let gates = ["RNN": 1, "GRU": 3, "LSTM": 4][operation] ?? 0
    var random = Seeded(11)
    let x = random.tensor([5, 2, 3])
    let (w, r) = (random.tensor([1, gates * 4, 3]), random.tensor([1, gates * 4, 4]))
    let b = random.tensor([1, 2 * gates * 4])
    let back = try apply(operation, [x, w, r, b], ["direction": .string("reverse")])
    let lengths = integers([5, 5], [2])
    let turn: [String: Attribute] = ["time_axis": .int(0), "batch_axis": .int(1)]
    let turned = try apply("ReverseSequence", [x, lengths], turn)
    let forth = try apply(operation, [turned, w, r, b])
    let again = try apply(
      "ReverseSequence", [forth.reshaped([5, 1, 2, 4]), lengths],
      ["time_axis": .int(0), "batch_axis": .int(2)])
    expectClose(back, again)
  }

  @Test("A short sequence ends where its length says", arguments: ["RNN", "GRU", "LSTM"])
  func lengths(operation: String) throws {
    let gates = ["RNN": 1, "GRU": 3, "LSTM": 4][operation] ?? 0
    var random = Seeded(12)
    let x = random.tensor([4, 1, 3])
    let (w, r) = (random.tensor([1, gates * 2, 3]), random.tensor([1, gates * 2, 2]))
    let short = Tensor.from(integers: [2], .int32, [1])
    let cut = try applyAll(operation, [x, w, r, nil, short], outputs: 2)
    let first = Tensor.from(floats: Array(x.floats()[..<6]), [2, 1, 3])
    let whole = try applyAll(operation, [first, w, r], outputs: 2)
    expectClose(cut[1], whole[1])
    #expect(cut[0].floats().suffix(4) == [0, 0, 0, 0])
  }
}
