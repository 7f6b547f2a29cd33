import Models
import Vocabulary

extension ShapeRules {
  static let recurrent: [String: ShapeRule] = [
    "LSTM": recurrence, "GRU": recurrence, "RNN": recurrence,
  ]

  static func recurrence(_ facts: inout NodeFacts) throws(ModelError) {
    if let input = facts.shape(0), input.count != 3 {
      throw facts.refusal("has an input of shape \(input.text) instead of three dimensions")
    }
    guard let input = facts.shape(0), let recurrence = facts.shape(2),
      recurrence.count == 3
    else {
      for index in facts.outputs.indices {
        facts.set(index, facts.type(0), facts.unknown(index == 0 ? 4 : 3, output: index))
      }
      return
    }
    let directions = recurrence[0]
    let hidden = recurrence[2]
    let batchFirst = facts.node.int("layout", default: 0) != 0
    let (steps, batch) = batchFirst ? (input[1], input[0]) : (input[0], input[1])
    let last = batchFirst ? [batch, directions, hidden] : [directions, batch, hidden]
    facts.set(
      0, facts.type(0),
      batchFirst ? [batch, steps, directions, hidden] : [steps, directions, batch, hidden])
    facts.set(1, facts.type(0), last)
    facts.set(2, facts.type(0), last)
  }
}
