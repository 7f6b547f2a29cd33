import Models

/// The steps of a GRU (Cho and others, 2014), each direction of a sample by itself.
///
/// The sums over the input are made already, for all steps at once.
///
/// Operands: gates [steps, samples, directions × 3 × hidden] in order update, reset, hidden;
/// recurrent weights as `pack` lays them; recurrent biases of the hidden gate
/// [directions, hidden]; the state before the first step, if there is one; then the outputs that
/// are wanted.
struct GatedUnitKernel: RecurrentKernel {
  static let gateCount = 3
  /// Three rows of sums, the state, and the state as reset.
  static let rowCount = 5

  let steps: Int
  let samples: Int
  let hidden: Int
  /// For each direction whether it begins with the last step.
  let directions: [Bool]
  /// Whether the reset gate multiplies the sum over the state, as cuDNN has it, or the state.
  let resetsSum: Bool
  /// The operand of the state before the first step; nil for zeros.
  var before: Int?
  /// Operands of all states and of the last one; nil where not wanted.
  var after: (states: Int?, state: Int?)

  func runOne(
    _ operands: [UnsafeMutablePointer<Float>], direction: Int, sample: Int,
    _ memory: UnsafeMutablePointer<Float>
  ) {
    memory.update(repeating: 0, count: 5 * width)
    let state = memory + 3 * width
    let place = (direction * samples + sample) * hidden
    if let before { state.update(from: operands[before] + place, count: hidden) }
    let weights = operands[1] + direction * hidden * 3 * width
    for step in 0..<steps {
      let time = directions[direction] ? steps - 1 - step : step
      let row = (time * samples + sample) * directions.count + direction
      advance(
        operands[0] + row * 3 * hidden, weights, operands[2] + direction * hidden, memory)
      if let states = after.states {
        let target = ((time * directions.count + direction) * samples + sample) * hidden
        (operands[states] + target).update(from: state, count: hidden)
      }
    }
    if let last = after.state { (operands[last] + place).update(from: state, count: hidden) }
  }

  /// One step.
  ///
  /// - Parameters:
  ///   - input: The sums over the input, biases included.
  ///   - bias: What the hidden gate adds to the sum over the state.
  private func advance(
    _ input: UnsafePointer<Float>, _ weights: UnsafePointer<Float>, _ bias: UnsafePointer<Float>,
    _ memory: UnsafeMutablePointer<Float>
  ) {
    let (state, reset) = (memory + 3 * width, memory + 4 * width)
    let gates = resetsSum ? 3 * width : 2 * width
    product(state, weights, 0..<gates, into: memory)
    for unit in 0..<hidden {
      memory[unit] += input[unit]
      memory[width + unit] += input[hidden + unit]
    }
    for start in stride(from: 0, to: 2 * width, by: 16) {
      VectorMath.store(VectorMath.sigmoid(VectorMath.load(memory + start)), memory + start)
    }
    let (update, gate, proposed) = (memory, memory + width, memory + 2 * width)
    if resetsSum {
      for unit in 0..<hidden {
        proposed[unit] = input[2 * hidden + unit] + gate[unit] * (proposed[unit] + bias[unit])
      }
    } else {
      for unit in 0..<hidden { reset[unit] = gate[unit] * state[unit] }
      product(reset, weights, 2 * width..<3 * width, into: memory)
      for unit in 0..<hidden { proposed[unit] += input[2 * hidden + unit] + bias[unit] }
    }
    for start in stride(from: 0, to: width, by: 16) {
      let (z, old) = (VectorMath.load(update + start), VectorMath.load(state + start))
      let new = VectorMath.tanh(VectorMath.load(proposed + start))
      VectorMath.store((1 - z) * new + z * old, state + start)
    }
    // Lanes beyond the units count nowhere, and must not grow.
    for lane in hidden..<width { state[lane] = 0 }
  }

  /// Products of a row with some columns of the weights.
  private func product(
    _ row: UnsafePointer<Float>, _ weights: UnsafePointer<Float>, _ columns: Range<Int>,
    into sums: UnsafeMutablePointer<Float>
  ) {
    for start in stride(from: columns.lowerBound, to: columns.upperBound, by: 16) {
      var sum = SIMD16<Float>.zero
      for unit in 0..<hidden {
        sum.addProduct(
          VectorMath.load(weights + unit * 3 * width + start), SIMD16(repeating: row[unit]))
      }
      VectorMath.store(sum, sums + start)
    }
  }
}
