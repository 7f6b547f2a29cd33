import Models
import Vocabulary

/// Makes one node of attention: softmax(Q·Kᵀ·scale + mask)·V.
///
/// Source: Vaswani and others, "Attention Is All You Need", 2017. A backend can then go over keys
/// in blocks and never keep the whole table of scores.
enum AttentionFusion {
  static func run(_ graph: inout Graph, facts: [ValueFacts]) {
    var rewriter = Rewriter(graph)
    for index in graph.nodes.indices {
      guard let node = rewriter.nodes[index], node.domain.isEmpty, node.operation == "Softmax"
      else { continue }
      match(node, at: index, facts, &rewriter)
    }
    graph = rewriter.finish()
  }

  private static func match(
    _ softmax: Node, at index: Int, _ facts: [ValueFacts], _ rewriter: inout Rewriter
  ) {
    guard let scores = softmax.inputs[0], let rank = facts.rank(of: scores), rank >= 3,
      [-1, rank - 1].contains(softmax.int("axis", default: softmax.opset < 13 ? 1 : -1)),
      let weights = softmax.outputs[0], let last = rewriter.standardReader("MatMul", of: weights),
      last.node.inputs[0] == weights, let value = last.node.inputs[1]
    else { return }
    var taken = [index, last.index]
    var mask: ValueID?
    var scale: Float = 1
    var end = scores
    if let added = rewriter.single("Add", writing: end), added.node.inputs.count == 2 {
      let operands = added.node.inputs
      let place = operands.firstIndex { isProduct($0, rewriter) }
      guard let place, let product = operands[place] else { return }
      mask = operands[1 - place]
      taken.append(added.index)
      end = product
    }
    if rewriter.onlyReader(of: end) != nil, let scaled = rewriter.producer(of: end),
      let (operand, factor) = rewriter.scaling(scaled.node)
    {
      scale = factor
      taken.append(scaled.index)
      end = operand
    }
    guard let product = rewriter.single("MatMul", writing: end), var query = product.node.inputs[0],
      let turned = rewriter.single("Transpose", writing: product.node.inputs[1]),
      let order = turned.node.ints("perm"), order.count == rank,
      let turnedKey = product.node.inputs[1],
      sameBatch([query, turnedKey, value], rank, facts),
      mask.map({ isFloat($0, facts, rewriter) }) ?? true
    else { return }
    taken.append(product.index)
    if rewriter.onlyReader(of: query) != nil, let scaled = rewriter.producer(of: query),
      let (operand, factor) = rewriter.scaling(scaled.node)
    {
      scale *= factor
      taken.append(scaled.index)
      query = operand
    }
    var key = turned.node
    key.attributes["perm"] = .ints(order.dropLast(2) + [order[rank - 1], order[rank - 2]])
    rewriter.replace(turned.index, with: key)
    rewriter.fuse(
      taken,
      into: Node(
        name: softmax.name, operation: "Attention", domain: "stowage", opset: softmax.opset,
        inputs: [query, turnedKey, value] + (mask.map { [$0] } ?? []), outputs: last.node.outputs,
        attributes: ["scale": .float(scale)]))
  }

  /// Whether a value is a product, scaled or not, that only one node reads.
  private static func isProduct(_ id: ValueID?, _ rewriter: Rewriter) -> Bool {
    guard rewriter.onlyReader(of: id) != nil, let found = rewriter.producer(of: id) else {
      return false
    }
    if found.node.operation == "MatMul", found.node.domain.isEmpty { return true }
    guard let (operand, _) = rewriter.scaling(found.node) else { return false }
    return rewriter.single("MatMul", writing: operand) != nil
  }

  /// Whether tensors agree in all but their last two axes, so that nothing is broadcast.
  private static func sameBatch(_ ids: [ValueID], _ rank: Int, _ facts: [ValueFacts]) -> Bool {
    let batches = ids.map { id in
      id.index < facts.count && facts[id.index].type == .float32
        ? facts[id.index].shape?.dropLast(2) : nil
    }
    guard let first = batches[0], first.count == rank - 2 else { return false }
    return batches.allSatisfy { $0 == first }
  }

  private static func isFloat(_ id: ValueID, _ facts: [ValueFacts], _ rewriter: Rewriter) -> Bool {
    (id.index < facts.count ? facts[id.index].type : rewriter[id].type) == .float32
  }
}

extension [ValueFacts] {
  /// The number of dimensions of a value, when known.
  fileprivate func rank(of id: ValueID) -> Int? {
    id.index < count ? self[id.index].shape?.count : nil
  }
}
