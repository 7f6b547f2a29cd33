import Backend
import Compiler
import Models
import Testing
import Vocabulary

@testable import CPUBackend

@Suite("Units by work")
struct UnitsTests {
  /// Products of a few thousand operations, and one of millions.
  private static func graph() -> Graph {
    var maker = GraphMaker(seed: 5)
    let x = maker.input([24])
    let small = maker.node("Relu", [maker.node("MatMul", [x, maker.weight([24, 40])])])
    let large = maker.node("MatMul", [small, maker.weight([40, 200_000], scale: 0.1)])
    let back = maker.node("ReduceSum", [large, maker.axes([1])])
    return maker.finish(maker.node("Exp", [maker.node("Neg", [small])]), back)
  }

  private static func plan(samples: Int, units: Int) throws -> Plan {
    let program = try Compiler.compile(graph())
    let model = try CPUModel(
      program, options: LoadOptions(maximumBatch: 1, units: [1, units]), families: .all,
      memory: MemoryPool())
    return try model.plan(samples: samples, inputShapes: [[1, 24]], units: units)
  }

  @Test("Small kernels stay on one unit, large ones are shared out")
  func small() throws {
    let kernels = try Self.plan(samples: 1, units: 2).steps.map(\.kernel)
    #expect(kernels.contains { $0 is SerialKernel })
    #expect(kernels.contains { !($0 is SerialKernel) })
    // A batch may be worth what one sample is not.
    let batch = try Self.plan(samples: 1024, units: 2).steps.map(\.kernel)
    #expect(batch.count { $0 is SerialKernel } < kernels.count { $0 is SerialKernel })
  }

  @Test("One unit needs no telling")
  func one() throws {
    #expect(try !Self.plan(samples: 1, units: 1).steps.contains { $0.kernel is SerialKernel })
  }

  @Test("The same sample has the same bits whatever the units")
  func bits() throws {
    let graph = Self.graph()
    var random = Seeded(9)
    let inputs = random.inputs(of: graph, samples: 3)
    let one = try runOnCPU(graph, inputs, parts: [3], units: 1).map(elements)
    let two = try runOnCPU(graph, inputs, parts: [2, 1], units: 2).map(elements)
    #expect(one == two)
  }
}
