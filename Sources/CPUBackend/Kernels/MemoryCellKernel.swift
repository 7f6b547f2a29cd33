import Models

/// The steps of an LSTM (Hochreiter and Schmidhuber, 1997), each direction of a sample by itself.
///
/// The sums over the input are made already, for all steps at once.
///
/// Operands: gates [steps, samples, directions × 4 × hidden] in order input, output, forget, cell;
/// recurrent weights as `pack` lays them; state and cell before the first step, where there are
/// any; then the outputs that are wanted.
struct MemoryCellKernel: RecurrentKernel {
  static let gateCount = 4
  /// Four rows of gates, the state and the cell.
  static let rowCount = 6

  let steps: Int
  let samples: Int
  let hidden: Int
  /// For each direction whether it begins with the last step.
  let directions: [Bool]
  /// Operands of the state and cell before the first step; nil for zeros.
  let before: (state: Int?, cell: Int?)
  /// Operands of all states, and of state and cell after the last step; nil where not wanted.
  let after: (states: Int?, state: Int?, cell: Int?)

  func runOne(
    _ operands: [UnsafeMutablePointer<Float>], direction: Int, sample: Int,
    _ memory: UnsafeMutablePointer<Float>
  ) {
    let (state, cell) = (memory + 4 * width, memory + 5 * width)
    memory.update(repeating: 0, count: 6 * width)
    let place = (direction * samples + sample) * hidden
    if let first = before.state { state.update(from: operands[first] + place, count: hidden) }
    if let first = before.cell { cell.update(from: operands[first] + place, count: hidden) }
    let weights = operands[1] + direction * hidden * 4 * width
    for step in 0..<steps {
      let time = directions[direction] ? steps - 1 - step : step
      let row = (time * samples + sample) * directions.count + direction
      for gate in 0..<4 {
        (memory + gate * width).update(
          from: operands[0] + (row * 4 + gate) * hidden, count: hidden)
      }
      addRecurrence(weights, state, memory)
      advance(memory, state, cell)
      if let states = after.states {
        let target = ((time * directions.count + direction) * samples + sample) * hidden
        (operands[states] + target).update(from: state, count: hidden)
      }
    }
    if let last = after.state { (operands[last] + place).update(from: state, count: hidden) }
    if let last = after.cell { (operands[last] + place).update(from: cell, count: hidden) }
  }

  /// Adds what the state contributes to the gates: four vectors at once stay in registers.
  private func addRecurrence(
    _ weights: UnsafePointer<Float>, _ state: UnsafePointer<Float>,
    _ gates: UnsafeMutablePointer<Float>
  ) {
    // Four gates of whole vectors: their number is a multiple of four.
    for start in stride(from: 0, to: 4 * width, by: 64) {
      var (a, b) = (VectorMath.load(gates + start), VectorMath.load(gates + start + 16))
      var (c, d) = (VectorMath.load(gates + start + 32), VectorMath.load(gates + start + 48))
      for unit in 0..<hidden {
        let x = SIMD16<Float>(repeating: state[unit])
        let row = weights + unit * 4 * width + start
        a.addProduct(VectorMath.load(row), x)
        b.addProduct(VectorMath.load(row + 16), x)
        c.addProduct(VectorMath.load(row + 32), x)
        d.addProduct(VectorMath.load(row + 48), x)
      }
      VectorMath.store(a, gates + start)
      VectorMath.store(b, gates + start + 16)
      VectorMath.store(c, gates + start + 32)
      VectorMath.store(d, gates + start + 48)
    }
  }

  private func advance(
    _ gates: UnsafePointer<Float>, _ state: UnsafeMutablePointer<Float>,
    _ cell: UnsafeMutablePointer<Float>
  ) {
    for start in stride(from: 0, to: width, by: 16) {
      let taken = VectorMath.sigmoid(VectorMath.load(gates + start))
      let shown = VectorMath.sigmoid(VectorMath.load(gates + width + start))
      let kept = VectorMath.sigmoid(VectorMath.load(gates + 2 * width + start))
      let proposed = VectorMath.tanh(VectorMath.load(gates + 3 * width + start))
      let next = kept * VectorMath.load(cell + start) + taken * proposed
      VectorMath.store(next, cell + start)
      VectorMath.store(shown * VectorMath.tanh(next), state + start)
    }
  }
}
