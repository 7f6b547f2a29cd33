import Models
import Testing
import Vocabulary

@testable import Reference

@Suite("Reference: subgraphs")
struct ControlTests {
  /// A graph of one node: `names` are its inputs, the last of which may be captured.
  private func graph(
    _ operation: String, inputs: Int, captures: Int = 0, used: [Int], outputs: [Int]
  ) -> Graph {
    let count = inputs + captures
    let names = (0...count).map { Value(name: "v\($0)", type: .float32) }
    let node = Node(
      name: "inner", operation: operation, opset: 21, inputs: used.map { ValueID($0) },
      outputs: [ValueID(count)])
    return Graph(
      name: "g", values: names, nodes: [node], inputs: (0..<inputs).map { ValueID($0) },
      outputs: outputs.map { ValueID($0) }, captures: (inputs..<count).map { ValueID($0) })
  }

  @Test("If runs one branch, on what it captures", arguments: [true, false])
  func branches(condition: Bool) throws {
    let attributes: [String: Attribute] = [
      "then_branch": .graph(graph("Neg", inputs: 0, captures: 1, used: [0], outputs: [1])),
      "else_branch": .graph(graph("Exp", inputs: 0, captures: 1, used: [0], outputs: [1])),
    ]
    let y = try apply("If", [.from(truths: [condition], []), floats([0], [1])], attributes)
    #expect(y.floats() == (condition ? [0] : [1]))
  }

  @Test("Loop carries values, collects others and stops at its limit")
  func loops() throws {
    // Inputs: trip, condition, sum; captured: what is added. The sum is carried and collected.
    let body = graph("Add", inputs: 3, captures: 1, used: [2, 3], outputs: [1, 4, 4])
    let outputs = try applyAll(
      "Loop",
      [integers([3], []), .from(truths: [true], []), floats([1], [1]), floats([2], [1])],
      outputs: 2, ["body": .graph(body)])
    #expect(outputs[0].floats() == [7])
    #expect(outputs[1].floats() == [3, 5, 7])
    #expect(outputs[1].shape == [3, 1])
    let never = try applyAll(
      "Loop",
      [integers([3], []), .from(truths: [false], []), floats([1], [1]), floats([2], [1])],
      outputs: 2, ["body": .graph(body)])
    #expect(never[0].floats() == [1])
    #expect(never[1].shape.first == 0)
  }

  @Test("Scan sums up, in either direction", arguments: [0, 1])
  func scans(direction: Int) throws {
    let body = graph("Add", inputs: 2, used: [0, 1], outputs: [2, 2])
    let outputs = try applyAll(
      "Scan", [floats([0], [1]), floats([1, 2, 3], [3, 1])], outputs: 2,
      [
        "body": .graph(body), "num_scan_inputs": .int(1),
        "scan_input_directions": .ints([direction]),
      ])
    #expect(outputs[0].floats() == [6])
    #expect(outputs[1].floats() == (direction == 0 ? [1, 3, 6] : [3, 5, 6]))
  }
}
