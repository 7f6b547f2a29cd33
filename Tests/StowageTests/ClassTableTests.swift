import Testing

@testable import Stowage

@Suite("Answers as tables")
struct ClassTableTests {
  private func lines(
    _ datatype: String, _ shape: [Int], _ values: [Double], top: Int = 2
  ) -> [String] {
    ClassTable(
      output: .init(name: "y", datatype: datatype, shape: shape, values: values, strings: []),
      top: top
    ).lines
  }

  @Test("Probabilities are shown as they are, highest first, with bars")
  func probabilities() {
    #expect(
      lines("FP32", [1, 3], [0.25, 0, 0.75]) == [
        "y  FP32 [1, 3]",
        "  2    75.00 %  ██████████████████",
        "  0    25.00 %  ██████",
      ])
  }

  @Test("Logits are shown as their softmax, each sample by itself")
  func logits() {
    let shown = lines("FP32", [2, 2], [1000, 1000, -3, 3], top: 1)
    #expect(shown[0] == "y  FP32 [2, 2]  as softmax  sample 0")
    #expect(shown[1].hasPrefix("  0    50.00 %"))
    #expect(shown[3].hasPrefix("  1    99.75 %"))
  }

  @Test("What is no score of classes is shown as numbers")
  func plain() {
    #expect(lines("INT64", [1], [7]) == ["y  INT64 [1]  7"])
    #expect(lines("FP32", [1, 2, 2], [1, 2, 3, 4.5]) == ["y  FP32 [1, 2, 2]  1 2 3 4.5"])
    #expect(lines("FP32", [1, 2], [.nan, 1]).count == 1)
    #expect(lines("INT64", [9], Array(repeating: 1, count: 9)).first?.hasSuffix("1 …") == true)
  }

  @Test("Answers are read from JSON and from the bytes behind it")
  func answers() throws {
    let json =
      Array(
        #"{"model_name":"m","outputs":[{"name":"a","datatype":"INT8","shape":[2],"#
          .utf8)
      + Array(#""parameters":{"binary_data_size":2}},{"name":"b","datatype":"BOOL","#.utf8)
      + Array(#""shape":[2],"data":[true,false]},{"name":"c","datatype":"BYTES","shape":[1],"#.utf8)
      + Array(#""parameters":{"binary_data_size":5}}]}"#.utf8)
    let answer = try InferAnswer(json + [255, 2, 1, 0, 0, 0, 65], jsonCount: json.count)
    #expect(answer.outputs.map(\.values) == [[-1, 2], [1, 0], []])
    #expect(answer.outputs.last?.strings == ["A"])
  }

  @Test("Names are percent-encoded into one segment")
  func names() {
    #expect(InferCommand.percentEncoded("a b/ü-1.0_~") == "a%20b%2F%C3%BC-1.0_~")
  }
}
