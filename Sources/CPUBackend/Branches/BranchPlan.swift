import Models
import Vocabulary

/// The plan of a branch with all of its memory inside that of the step that runs it.
struct BranchPlan: Sendable {
  /// Where an operand of a step lies: with the operands of the whole branch, at an offset of the
  /// scratchpad, or among the weights.
  private enum Place: Sendable {
    case operand(Int)
    case scratch(Int)
    case weight(WeightPointer)
  }

  private struct Step: Sendable {
    var kernel: any Kernel
    var places: [Place]
  }

  private var steps: [Step] = []
  /// Outputs that are another value's memory.
  private var copies: [(from: Place, to: Int, byteCount: Int)] = []
  /// Bytes of the scratchpad that hold values.
  private let valueBytes: Int
  /// Bytes that a run needs besides inputs and outputs.
  let scratch: Int

  /// Nil where an output has no memory to be copied from.
  ///
  /// - Parameters:
  ///   - inputs: The operands that the plan's inputs are.
  ///   - outputs: The operands that take its outputs.
  init?(_ plan: Plan, inputs: [Int], outputs: [Int]) {
    let arena = plan.arena(plan.layers.indices)
    valueBytes = (arena.byteCount + 4095) & ~4095
    scratch = valueBytes + (plan.steps.map(\.kernel.scratch).max() ?? 0)
    var places: [Int: Place] = [:]
    for (buffer, operand) in zip(plan.inputs, inputs) {
      if let buffer { places[plan.root(buffer)] = .operand(operand) }
    }
    for (index, operand) in outputs.enumerated() {
      guard let buffer = plan.outputs[index] else { return nil }
      let root = plan.root(buffer)
      if let made = places[root] {
        copies.append((made, operand, Self.byteCount(plan, index)))
      } else {
        places[root] = .operand(operand)
      }
    }
    for step in plan.steps {
      var operands: [Place] = []
      for operand in step.operands {
        switch operand {
        case .weight(let weight): operands.append(.weight(weight))
        case .buffer(let buffer):
          let root = plan.root(buffer)
          guard let place = places[root] ?? arena.offset(root).map(Place.scratch) else {
            return nil
          }
          operands.append(place)
        }
      }
      steps.append(Step(kernel: step.kernel, places: operands))
    }
  }

  private static func byteCount(_ plan: Plan, _ output: Int) -> Int {
    plan.outputShapes[output].elementCount * plan.outputTypes[output].byteSize
  }

  /// Runs the branch on the operands of its step.
  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    func address(_ place: Place) -> UnsafeMutableRawPointer {
      switch place {
      case .operand(let index): operands[index]
      case .scratch(let offset): scratchpad + offset
      case .weight(let weight): weight.address
      }
    }
    var list: [UnsafeMutableRawPointer] = []
    for step in steps {
      list.removeAll(keepingCapacity: true)
      for place in step.places { list.append(address(place)) }
      try step.kernel.run(list, scratchpad: scratchpad + valueBytes)
    }
    for copy in copies {
      operands[copy.to].copyMemory(from: address(copy.from), byteCount: copy.byteCount)
    }
  }
}

/// Runs one of two branches, as a condition tells.
///
/// Operands: the condition, what the branches read, the outputs.
struct BranchKernel: Kernel {
  /// What to run when the condition holds and when it does not; nil where a branch has no plan for
  /// these shapes.
  let branches: (yes: BranchPlan?, no: BranchPlan?)
  /// Computes what has no plan.
  let plain: ReferenceKernel

  var scratch: Int { max(branches.yes?.scratch ?? 0, branches.no?.scratch ?? 0) }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    let isTrue = operands[0].load(as: UInt8.self) != 0
    if let branch = isTrue ? branches.yes : branches.no {
      try branch.run(operands, scratchpad: scratchpad)
    } else {
      try plain.run(operands, scratchpad: scratchpad)
    }
  }
}
