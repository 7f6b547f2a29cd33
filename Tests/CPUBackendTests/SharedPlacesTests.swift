import Backend
import Compiler
import Models
import Testing
import Vocabulary

@testable import CPUBackend

@Suite("What lies in others instead of being copied")
struct SharedPlacesTests {
  /// Convolutions whose results are joined, joined again with another, and taken apart.
  private func program(seed: Int) throws -> Program {
    var maker = GraphMaker(seed: seed)
    let x = maker.input([16, 20, 20])
    func convolution(_ x: ValueID, _ inputs: Int, _ outputs: Int) -> ValueID {
      maker.node("Conv", [x, maker.weight([outputs, inputs, 1, 1], scale: 0.1)])
    }
    let axis: [String: Attribute] = ["axis": .int(1)]
    let (a, b) = (convolution(x, 16, 32), convolution(x, 16, 16))
    let joined = maker.node("Concat", [a, b], axis)
    let c = convolution(joined, 48, 16)
    let again = maker.node("Concat", [joined, c, b], axis)
    let parts = maker.nodes("Split", [again], axis, count: 5)
    let sum = maker.node("Add", [parts[0], maker.node("Relu", [parts[3]])])
    let last = maker.node("Concat", [parts[1], sum, parts[1]], axis)
    return try Compiler.compile(maker.finish(convolution(last, 48, 16)))
  }

  /// Parts that lie where they belong.
  private func partsInPlace(_ plan: Plan, _ arena: ArenaPlan) -> Int {
    var count = 0
    for step in plan.steps {
      for part in step.kernel.parts {
        guard case .buffer(let inner) = step.operands[part.part],
          case .buffer(let outer) = step.operands[part.whole],
          let small = arena.offset(plan.root(inner)), let large = arena.offset(plan.root(outer))
        else { continue }
        if small == large + part.offset { count += 1 }
      }
    }
    return count
  }

  @Test("The same bits with and without copies", arguments: 0..<4)
  func sameBits(seed: Int) throws {
    let program = try program(seed: seed)
    let model = try CPUModel(
      program, options: LoadOptions(maximumBatch: 4, units: [1]), families: .all,
      memory: MemoryPool())
    var random = Seeded(seed)
    let input = random.tensor([3, 16, 20, 20])
    let all = program.layers.indices
    // Values that pass between runs are copied; so is what samples of a batch are made of.
    let ways: [(runs: [Range<Int>], samples: [Range<Int>])] = [
      (all.map { $0..<$0 + 1 }, [0..<3]), ([all], [0..<3]), ([all], (0..<3).map { $0..<$0 + 1 }),
    ]
    let answers = try ways.map { way in
      let workspace = try model.makeWorkspace(samples: 3, inputShapes: [[3, 16, 20, 20]])
      workspace.setInput(0, samples: 0..<3, to: input)
      for samples in way.samples {
        for layers in way.runs {
          try model.run(layers, samples: samples, in: workspace, units: 1)
        }
      }
      return elements(workspace.output(0, samples: 0..<3))
    }
    let plan = try model.plan(samples: 1, inputShapes: [[1, 16, 20, 20]], units: 1)
    // The first two, both again with a third, and the five of the Split.
    #expect(partsInPlace(plan, plan.arena(all)) >= 9)
    #expect(answers[1] == answers[0])
    #expect(answers[2] == answers[0])
  }

  @Test("Inputs of a Concat lie in its output, which saves their memory too")
  func inPlace() throws {
    var maker = GraphMaker(seed: 1)
    let x = maker.input([16, 40, 40])
    let (a, b) = (
      maker.node("Conv", [x, maker.weight([64, 16, 1, 1])]),
      maker.node("Conv", [x, maker.weight([32, 16, 1, 1])])
    )
    let joined = maker.node("Concat", [a, b], ["axis": .int(1)])
    let program = try Compiler.compile(maker.finish(maker.node("GlobalMaxPool", [joined])))
    let model = try CPUModel(
      program, options: LoadOptions(maximumBatch: 2, units: [1]), families: .all,
      memory: MemoryPool())
    for samples in 1...2 {
      let plan = try model.plan(samples: samples, inputShapes: [[1, 16, 40, 40]], units: 1)
      let arena = plan.arena(program.layers.indices)
      let inPlace = partsInPlace(plan, arena)
      // Of several samples the channels of one lie between those of others.
      #expect(inPlace == (samples == 1 ? 2 : 0))
      let joinedBytes = samples * 96 * 40 * 40 * 4
      #expect(samples == 1 ? arena.byteCount < 2 * joinedBytes : arena.byteCount >= 2 * joinedBytes)
    }
  }
}
