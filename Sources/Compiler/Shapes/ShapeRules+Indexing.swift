import Models
import Vocabulary

extension ShapeRules {
  static let indexing: [String: ShapeRule] = [
    "Gather": gather, "GatherElements": gatherElements, "GatherND": gatherND, "TopK": topK,
    "ArgMax": argument, "ArgMin": argument, "NonZero": nonZero, "OneHot": oneHot,
    "NonMaxSuppression": nonMaxSuppression, "Compress": compress, "Unique": unique,
    "Shape": shapeOf, "Size": sizeOf,
  ]

  static func gather(_ facts: inout NodeFacts) throws(ModelError) {
    guard let data = facts.shape(0), let indices = facts.shape(1) else {
      facts.set(0, facts.type(0), nil)
      return
    }
    let axis = try facts.axis(facts.node.int("axis", default: 0), rank: data.count)
    facts.set(0, facts.type(0), data[..<axis] + indices + data[(axis + 1)...])
    guard data.count == 1, let elements = facts.knownSizes(0), let places = facts.knownInts(1),
      let shape = indices.fixed
    else { return }
    var taken: [Dimension] = []
    for place in places {
      let counted = place < 0 ? place + elements.count : place
      guard elements.indices.contains(counted) else {
        throw facts.refusal("takes element \(place) of \(elements.count)")
      }
      taken.append(elements[counted])
    }
    facts.outputs[0].known = .sizes(shape: shape, taken)
  }

  static func gatherElements(_ facts: inout NodeFacts) throws(ModelError) {
    facts.set(0, facts.type(0), facts.shape(1))
  }

  static func gatherND(_ facts: inout NodeFacts) throws(ModelError) {
    guard let data = facts.shape(0), let indices = facts.shape(1),
      case .fixed(let depth)? = indices.last
    else {
      facts.set(0, facts.type(0), nil)
      return
    }
    let batches = facts.node.int("batch_dims", default: 0)
    guard batches >= 0, depth >= 0, batches < indices.count, batches <= data.count,
      depth <= data.count - batches
    else {
      throw facts.refusal("cannot index \(data.text) by \(indices.text)")
    }
    facts.set(0, facts.type(0), indices.dropLast() + data[(batches + depth)...])
  }

  static func topK(_ facts: inout NodeFacts) throws(ModelError) {
    guard var shape = facts.shape(0) else {
      facts.set(0, facts.type(0), nil)
      facts.set(1, .int64, nil)
      return
    }
    let axis = try facts.axis(facts.node.int("axis", default: -1), rank: shape.count)
    let count =
      facts.node.attributes["k"] == nil
      ? facts.knownSizes(1)?.first : .fixed(facts.node.int("k", default: 0))
    shape[axis] = count ?? .symbol("\(facts.node.name):0.\(axis)")
    facts.set(0, facts.type(0), shape)
    facts.set(1, .int64, shape)
  }

  static func argument(_ facts: inout NodeFacts) throws(ModelError) {
    guard let shape = facts.shape(0) else {
      facts.set(0, .int64, nil)
      return
    }
    let axis = try facts.axis(facts.node.int("axis", default: 0), rank: shape.count)
    let keeps = facts.node.int("keepdims", default: 1) != 0
    facts.set(0, .int64, reduced(shape, [axis], keeps: keeps))
  }

  static func nonZero(_ facts: inout NodeFacts) throws(ModelError) {
    let count: Dimension = .symbol("\(facts.node.name):0.1")
    facts.set(0, .int64, facts.rank(0).map { [.fixed(max($0, 1)), count] })
  }

  static func oneHot(_ facts: inout NodeFacts) throws(ModelError) {
    guard var shape = facts.shape(0) else {
      facts.set(0, facts.type(2), nil)
      return
    }
    let axis = try facts.axis(facts.node.int("axis", default: -1), rank: shape.count + 1)
    shape.insert(facts.knownSizes(1)?.first ?? .symbol("\(facts.node.name):0.\(axis)"), at: axis)
    facts.set(0, facts.type(2), shape)
  }

  static func nonMaxSuppression(_ facts: inout NodeFacts) throws(ModelError) {
    facts.set(0, .int64, [.symbol("\(facts.node.name):0.0"), .fixed(3)])
  }

  static func compress(_ facts: inout NodeFacts) throws(ModelError) {
    let count: Dimension = .symbol("\(facts.node.name):0.count")
    guard facts.node.attributes["axis"] != nil else {
      facts.set(0, facts.type(0), [count])
      return
    }
    guard var shape = facts.shape(0) else {
      facts.set(0, facts.type(0), nil)
      return
    }
    shape[try facts.axis(facts.node.int("axis", default: 0), rank: shape.count)] = count
    facts.set(0, facts.type(0), shape)
  }

  static func unique(_ facts: inout NodeFacts) throws(ModelError) {
    let count: Dimension = .symbol("\(facts.node.name):0.count")
    var shape: [Dimension]? = [count]
    if facts.node.attributes["axis"] != nil {
      shape = facts.shape(0)
      if let rank = shape?.count {
        shape?[try facts.axis(facts.node.int("axis", default: 0), rank: rank)] = count
      }
    }
    facts.set(0, facts.type(0), shape)
    facts.set(1, .int64, [count])
    facts.set(2, .int64, [.symbol("\(facts.node.name):2.0")])
    facts.set(3, .int64, [count])
  }

  static func shapeOf(_ facts: inout NodeFacts) throws(ModelError) {
    guard let shape = facts.shape(0) else {
      facts.set(0, .int64, facts.unknown(1))
      return
    }
    let rank = shape.count
    let start = facts.node.int("start", default: 0)
    let end = facts.node.int("end", default: rank)
    let first = min(max(start < 0 ? max(start, -rank) + rank : start, 0), rank)
    let last = min(max(end < 0 ? max(end, -rank) + rank : end, first), rank)
    let part = Array(shape[first..<last])
    facts.set(0, .int64, [.fixed(part.count)], known: .sizes(shape: [part.count], part))
  }

  static func sizeOf(_ facts: inout NodeFacts) throws(ModelError) {
    let known = facts.shape(0).map { shape in
      KnownElements.sizes(shape: [], [facts.sizes.multiply(shape)])
    }
    facts.set(0, .int64, [], known: known)
  }
}
