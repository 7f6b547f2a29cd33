import Models
import Vocabulary

extension Reference {
  /// Operators that run subgraphs.
  static let control: [String: Operator] = ["If": branch, "Loop": loop, "Scan": scan]

  @Sendable private static func branch(_ call: Call) throws(ModelError) -> [Tensor?] {
    let condition = try call.input(0).truths().first ?? false
    let name = condition ? "then_branch" : "else_branch"
    guard let graph = call.node.graph(name) else { throw call.error("\(name) is missing.") }
    let captures = Array(call.inputs.suffix(graph.captures.count))
    return try Interpreter.run(graph, inputs: [], captures: captures)
  }

  /// Runs the body while its first output is true, at most as often as input 0 says.
  @Sendable private static func loop(_ call: Call) throws(ModelError) -> [Tensor?] {
    guard let body = call.node.graph("body") else { throw call.error("the body is missing.") }
    let captures = Array(call.inputs.suffix(body.captures.count))
    let own = call.inputs.count - captures.count
    var states: [Tensor] = []
    for index in 2..<max(own, 2) { states.append(try call.input(index)) }
    let count = states.count
    guard body.inputs.count == count + 2, body.outputs.count > count else {
      throw call.error("the body does not fit \(count) carried values.")
    }
    let limit = call.optional(0)?.integers().first ?? .max
    var condition = call.optional(1)?.truths().first ?? true
    var collected = [[Tensor]](repeating: [], count: body.outputs.count - 1 - count)
    var trip: Int128 = 0
    while condition, trip < limit {
      guard trip < Limits.loopRounds else {
        throw call.error("more than \(Limits.loopRounds) rounds are not made.")
      }
      let number = Tensor.from(integers: [trip], .int64, [])
      let results = try Interpreter.run(
        body, inputs: [number, .from(truths: [condition], [])] + states, captures: captures)
      condition = results[0].truths().first ?? false
      states = Array(results[1..<1 + count])
      for place in collected.indices { collected[place].append(results[1 + count + place]) }
      trip += 1
    }
    var outputs: [Tensor?] = states
    for (place, parts) in collected.enumerated() {
      outputs.append(
        try stacked(parts, axis: 0, like: body[body.outputs[1 + count + place]], call))
    }
    return outputs
  }

  /// Runs the body once for each slice of its scanned inputs.
  @Sendable private static func scan(_ call: Call) throws(ModelError) -> [Tensor?] {
    guard let body = call.node.graph("body") else { throw call.error("the body is missing.") }
    guard call.node.opset >= 9 else { throw call.error("it had another meaning before opset 9.") }
    let captures = Array(call.inputs.suffix(body.captures.count))
    let own = call.inputs.count - captures.count
    let scanned = call.int("num_scan_inputs", default: 0)
    let carried = own - scanned
    guard scanned > 0, carried >= 0, body.inputs.count == own, body.outputs.count >= carried else {
      throw call.error("the body does not fit \(own) inputs, \(scanned) of them scanned.")
    }
    var states: [Tensor] = []
    for index in 0..<carried { states.append(try call.input(index)) }
    var sources: [[Tensor]] = []
    for index in 0..<scanned {
      let x = try call.input(carried + index)
      let axis = try call.axis(entry(call, "scan_input_axes", index), in: x)
      let slices = (0..<x.shape[axis]).map { slice(x, axis, at: $0) }
      sources.append(entry(call, "scan_input_directions", index) == 0 ? slices : slices.reversed())
    }
    let steps = sources.map(\.count).min() ?? 0
    guard sources.allSatisfy({ $0.count == steps }) else {
      throw call.error("scanned inputs have \(sources.map(\.count)) steps.")
    }
    var collected = [[Tensor]](repeating: [], count: body.outputs.count - carried)
    for step in 0..<steps {
      let results = try Interpreter.run(
        body, inputs: states + sources.map { $0[step] }, captures: captures)
      states = Array(results[..<carried])
      for place in collected.indices { collected[place].append(results[carried + place]) }
    }
    var outputs: [Tensor?] = states
    for (place, parts) in collected.enumerated() {
      let ordered = entry(call, "scan_output_directions", place) == 0 ? parts : parts.reversed()
      let axis = entry(call, "scan_output_axes", place)
      outputs.append(
        try stacked(ordered, axis: axis, like: body[body.outputs[carried + place]], call))
    }
    return outputs
  }

  private static func entry(_ call: Call, _ attribute: String, _ index: Int) -> Int {
    guard let entries = call.ints(attribute), index < entries.count else { return 0 }
    return entries[index]
  }

  /// One slice of an axis, which goes away.
  private static func slice(_ x: Tensor, _ axis: Int, at place: Int) -> Tensor {
    let inner = Array(x.shape[(axis + 1)...]).elementCount
    let size = x.shape[axis]
    var shape = x.shape
    shape.remove(at: axis)
    return x.gathered(shape) { ($0 / inner * size + place) * inner + $0 % inner }
  }

  /// Tensors of one shape along a new axis; none of them make an empty tensor as declared.
  private static func stacked(
    _ parts: [Tensor], axis: Int, like value: Value, _ call: Call
  ) throws(ModelError) -> Tensor {
    guard let first = parts.first else {
      let rest = (value.shape ?? []).map { dimension in
        if case .fixed(let size) = dimension { size } else { 0 }
      }
      return .from(integers: [], value.type ?? .float32, [0] + rest)
    }
    let place = try call.axis(axis, rank: first.shape.count + 1)
    var shape = first.shape
    shape.insert(1, at: place)
    guard parts.allSatisfy({ $0.shape == first.shape && $0.type == first.type }) else {
      throw call.error("the body's outputs change their shape or type from step to step.")
    }
    return try joined(parts.map { $0.reshaped(shape) }, axis: place, call)
  }
}
