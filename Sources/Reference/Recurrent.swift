import Glibc
import Models
import Vocabulary

extension Reference {
  /// Recurrent networks.
  static let recurrent: [String: Operator] = [
    "RNN": { (call) throws(ModelError) in
      let network = try RecurrentNetwork(call, gates: 1, activations: ["Tanh"])
      return try network.run(withCell: false, network.elman)
    },
    "GRU": { (call) throws(ModelError) in
      let network = try RecurrentNetwork(call, gates: 3, activations: ["Sigmoid", "Tanh"])
      return try network.run(withCell: false, network.gatedUnit)
    },
    "LSTM": { (call) throws(ModelError) in
      let network = try RecurrentNetwork(call, gates: 4, activations: ["Sigmoid", "Tanh", "Tanh"])
      return try network.run(withCell: true, network.longShortTermMemory)
    },
  ]
}

/// What a recurrent cell remembers of one sample.
struct RecurrentState {
  var hidden: [Double]
  var cell: [Double]
}

/// Weights, activations and input of RNN, GRU or LSTM.
struct RecurrentNetwork: @unchecked Sendable {
  // Unchecked: the activations are pure functions.
  let call: Call
  let x: Tensor
  let hidden: Int
  let gates: Int
  let directions: [Bool]
  let length: Int
  let batch: Int
  private let byBatch: Bool
  private let functions: [[(Double) -> Double]]
  private let input: [Double]
  private let weights: [Double]
  private let recurrence: [Double]
  private let bias: [Double]
  private let clip: Double

  /// One step of a cell: what the input adds to the gates, the direction, the state.
  typealias Cell = (_ gates: [Double], _ direction: Int, _ state: inout RecurrentState) -> Void

  init(_ call: Call, gates: Int, activations: [String]) throws(ModelError) {
    self.call = call
    self.gates = gates
    let given = try call.input(0)
    let (w, r) = (try call.input(1), try call.input(2))
    guard given.shape.count == 3, w.shape.count == 3, r.shape.count == 3 else {
      throw call.error("X, W and R must have three axes.")
    }
    byBatch = call.int("layout", default: 0) != 0
    x = byBatch ? Reference.transposed(given, [1, 0, 2]) : given
    (length, batch) = (x.shape[0], x.shape[1])
    hidden = r.shape[2]
    switch call.node.string("direction", default: "forward") {
    case "forward": directions = [false]
    case "reverse": directions = [true]
    default: directions = [false, true]
    }
    let count = directions.count
    let b = call.optional(3)
    guard w.shape == [count, gates * hidden, x.shape[2]],
      r.shape == [count, gates * hidden, hidden],
      b?.shape ?? [count, 2 * gates * hidden] == [count, 2 * gates * hidden]
    else { throw call.error("weights \(w.shape) and \(r.shape) do not fit input \(x.shape).") }
    (input, weights, recurrence) = (x.reals(), w.reals(), r.reals())
    bias = b?.reals() ?? [Double](repeating: 0, count: count * 2 * gates * hidden)
    clip = Double(call.node.float("clip", default: .infinity))
    functions = try RecurrentNetwork.functions(call, activations, count)
  }

  /// The activations of every direction, with their constants in turn.
  private static func functions(
    _ call: Call, _ defaults: [String], _ directions: Int
  ) throws(ModelError) -> [[(Double) -> Double]] {
    var names = (0..<directions).flatMap { _ in defaults }
    if case .strings(let given)? = call.node.attributes["activations"] { names = given }
    guard names.count == defaults.count * directions else {
      throw call.error("\(names.count) activations do not fit \(directions) directions.")
    }
    var alphas = (call.node.floats("activation_alpha") ?? [])[...]
    var betas = (call.node.floats("activation_beta") ?? [])[...]
    var functions: [(Double) -> Double] = []
    for name in names {
      switch name.lowercased() {
      case "sigmoid": functions.append(Reference.sigmoid)
      case "tanh": functions.append(tanh)
      case "relu": functions.append { max($0, 0) }
      case "softsign": functions.append { $0 / (1 + abs($0)) }
      case "softplus": functions.append(Reference.softplus)
      case "affine":
        let (alpha, beta) = (Double(alphas.popFirst() ?? 1), Double(betas.popFirst() ?? 0))
        functions.append { alpha * $0 + beta }
      case "scaledtanh":
        let (alpha, beta) = (Double(alphas.popFirst() ?? 1), Double(betas.popFirst() ?? 1))
        functions.append { alpha * tanh(beta * $0) }
      case "leakyrelu":
        let alpha = Double(alphas.popFirst() ?? 0.01)
        functions.append { $0 < 0 ? alpha * $0 : $0 }
      case "thresholdedrelu":
        let alpha = Double(alphas.popFirst() ?? 1)
        functions.append { $0 > alpha ? $0 : 0 }
      case "elu":
        let alpha = Double(alphas.popFirst() ?? 1)
        functions.append { $0 < 0 ? alpha * expm1($0) : $0 }
      case "hardsigmoid":
        let (alpha, beta) = (Double(alphas.popFirst() ?? 0.2), Double(betas.popFirst() ?? 0.5))
        functions.append { max(0, min(1, alpha * $0 + beta)) }
      default: throw call.error("activation \(name) is not known.")
      }
    }
    return stride(from: 0, to: functions.count, by: defaults.count).map {
      Array(functions[$0..<$0 + defaults.count])
    }
  }

  /// Takes every sample through its steps, in every direction.
  func run(withCell: Bool, _ cell: Cell) throws(ModelError) -> [Tensor?] {
    let count = directions.count
    let lengths = call.optional(4)?.sizes().map { max(0, min($0, length)) }
    guard lengths?.count ?? batch == batch,
      call.optional(7)?.shape ?? [count, 3 * hidden] == [count, 3 * hidden]
    else { throw call.error("lengths or peepholes do not fit input \(x.shape).") }
    let before = try initial(5)
    let memory = withCell ? try initial(6) : [Double](repeating: 0, count: before.count)
    var y = [Double](repeating: 0, count: length * count * batch * hidden)
    var (last, cells) = (before, memory)
    for direction in 0..<count {
      for sample in 0..<batch {
        let place = (direction * batch + sample) * hidden
        var state = RecurrentState(
          hidden: Array(before[place..<place + hidden]), cell: Array(memory[place..<place + hidden])
        )
        let steps = lengths?[sample] ?? length
        for step in 0..<max(steps, 0) {
          let time = directions[direction] ? steps - 1 - step : step
          cell(inputGates(direction, time, sample), direction, &state)
          let target = ((time * count + direction) * batch + sample) * hidden
          for unit in 0..<hidden { y[target + unit] = state.hidden[unit] }
        }
        for unit in 0..<hidden {
          last[place + unit] = state.hidden[unit]
          cells[place + unit] = state.cell[unit]
        }
      }
    }
    let all = Tensor.from(reals: y, x.type, [length, count, batch, hidden])
    var outputs = [byBatch ? Reference.transposed(all, [2, 0, 1, 3]) : all]
    for values in withCell ? [last, cells] : [last] {
      let state = Tensor.from(reals: values, x.type, [count, batch, hidden])
      outputs.append(byBatch ? Reference.transposed(state, [1, 0, 2]) : state)
    }
    return Array(outputs.prefix(max(call.node.outputs.count, 1)))
  }

  private func initial(_ index: Int) throws(ModelError) -> [Double] {
    let shape = [directions.count, batch, hidden]
    guard let given = call.optional(index) else {
      return [Double](repeating: 0, count: shape.elementCount)
    }
    guard given.shape.count == 3 else { throw call.error("a state must have three axes.") }
    let state = byBatch ? Reference.transposed(given, [1, 0, 2]) : given
    guard state.shape == shape else {
      throw call.error("a state of shape \(given.shape) does not fit \(shape).")
    }
    return state.reals()
  }

  /// W·x + Wb for all gates.
  private func inputGates(_ direction: Int, _ time: Int, _ sample: Int) -> [Double] {
    let (rows, columns) = (gates * hidden, x.shape[2])
    let start = (time * batch + sample) * columns
    return (0..<rows).map { row in
      let line = (direction * rows + row) * columns
      return (0..<columns).reduce(bias[direction * 2 * rows + row]) {
        $0 + weights[line + $1] * input[start + $1]
      }
    }
  }

  /// R·h + Rb for one gate.
  private func recurrentGate(_ gate: Int, _ direction: Int, _ state: [Double]) -> [Double] {
    let rows = gates * hidden
    return (gate * hidden..<(gate + 1) * hidden).map { row in
      let line = (direction * rows + row) * hidden
      return (0..<hidden).reduce(bias[(direction * 2 + 1) * rows + row]) {
        $0 + recurrence[line + $1] * state[$1]
      }
    }
  }

  /// An activation of clipped sums.
  private func activated(_ function: Int, _ direction: Int, _ sum: Double) -> Double {
    functions[direction][function](max(-clip, min(clip, sum)))
  }

  /// Elman, "Finding Structure in Time" (1990).
  func elman(_ gates: [Double], _ direction: Int, _ state: inout RecurrentState) {
    let recurrent = recurrentGate(0, direction, state.hidden)
    for unit in 0..<hidden {
      state.hidden[unit] = activated(0, direction, gates[unit] + recurrent[unit])
    }
  }

  /// The unit of Cho and others (2014); the reset gate acts before or after the recurrent product.
  func gatedUnit(_ gates: [Double], _ direction: Int, _ state: inout RecurrentState) {
    let old = state.hidden
    let update = zip(gates[..<hidden], recurrentGate(0, direction, old)).map {
      activated(0, direction, $0 + $1)
    }
    let reset = zip(gates[hidden..<2 * hidden], recurrentGate(1, direction, old)).map {
      activated(0, direction, $0 + $1)
    }
    let resetAfter = call.int("linear_before_reset", default: 0) != 0
    let recurrent =
      resetAfter
      ? zip(reset, recurrentGate(2, direction, old)).map { $0 * $1 }
      : recurrentGate(2, direction, zip(reset, old).map { $0 * $1 })
    for unit in 0..<hidden {
      let proposed = activated(1, direction, gates[2 * hidden + unit] + recurrent[unit])
      state.hidden[unit] = (1 - update[unit]) * proposed + update[unit] * old[unit]
    }
  }

  /// Hochreiter and Schmidhuber (1997), with peepholes; gates lie in order input, output, forget,
  /// cell, peepholes in order input, output, forget.
  func longShortTermMemory(
    _ gates: [Double], _ direction: Int, _ state: inout RecurrentState
  ) {
    let recurrent = (0..<4).map { recurrentGate($0, direction, state.hidden) }
    let peepholes = call.optional(7)?.reals()
    let couples = call.int("input_forget", default: 0) != 0
    for unit in 0..<hidden {
      func sum(_ gate: Int) -> Double { gates[gate * hidden + unit] + recurrent[gate][unit] }
      func peephole(_ gate: Int) -> Double {
        peepholes.map { $0[(direction * 3 + gate) * hidden + unit] } ?? 0
      }
      let old = state.cell[unit]
      let taken = activated(0, direction, sum(0) + peephole(0) * old)
      let kept = couples ? 1 - taken : activated(0, direction, sum(2) + peephole(2) * old)
      let cell = kept * old + taken * activated(1, direction, sum(3))
      let shown = activated(0, direction, sum(1) + peephole(1) * cell)
      state.cell[unit] = cell
      state.hidden[unit] = shown * functions[direction][2](cell)
    }
  }
}
