import Backend
import Compiler
import Metrics
import Models
import NullBackend
import Testing
import Threads
import Vocabulary

@testable import Engine

@Suite("Kernels that are made when a model is asked for")
struct PreparationTests {
  private let program = Program(
    graph: Graph(name: "g", values: [], nodes: [], inputs: [], outputs: []), layers: [],
    batching: .independent(symbol: "n"), freeSymbols: [])

  private var backend: NullBackend { NullBackend(computeUnits: 1) { _, _, _ in .zero } }

  /// A model that says how often its kernels were made.
  private func model(_ number: Int, _ made: Lock<[Int]>) -> ServedModel {
    let preparation = Preparation(nil) { [backend, program] () throws(ModelError) in
      made.notify { $0[number] += 1 }
      return try backend.load(program, options: LoadOptions(maximumBatch: 1, units: [1]))
    }
    let registry = Registry()
    return ServedModel(
      id: ModelID(Int32(number)),
      description: ModelDescription(name: "m\(number)", version: "1", state: .ready),
      sheet: ModelSheet(program, layers: []), preparation: preparation, packed: nil,
      metrics: ModelMetrics(registry, model: "m", version: "1"),
      paging: PagingMetrics(
        registry, model: "m", version: "1", layers: 0, MemoryUse(registry, backend)))
  }

  @Test("They are made once, in the background or by the run that needs them")
  func once() throws {
    let made = Lock([0])
    let model = model(0, made)
    let preparer = Preparer()
    preparer.use(model)
    preparer.use(model)
    made.wait { $0[0] > 0 ? () : nil }
    let first = try model.preparation.kernels()
    preparer.use(model)
    preparer.stop()
    #expect(try model.preparation.kernels() === first)
    #expect(made.withLock { $0 } == [1])
  }

  @Test("Those of the models that were asked for last are kept, the others go and come back")
  func recency() throws {
    let made = Lock([0, 0, 0])
    let models = (0..<3).map { model($0, made) }
    let preparer = Preparer()
    preparer.keep(atMost: 2)
    func use(_ number: Int, isMade count: Int) {
      preparer.use(models[number])
      made.wait { $0[number] >= count ? () : nil }
    }
    use(0, isMade: 1)
    use(1, isMade: 1)
    use(0, isMade: 1)
    // The least recently used of the three, 1, lets its kernels go.
    use(2, isMade: 1)
    use(0, isMade: 1)
    use(1, isMade: 2)
    preparer.stop()
    #expect(made.withLock { $0 } == [1, 2, 1])
  }

  @Test("Kernels that could not be made anew stay")
  func lasting() throws {
    let kernels = try backend.load(program, options: LoadOptions(maximumBatch: 1, units: [1]))
    let preparation = Preparation(kernels)
    preparation.letGo()
    #expect(try preparation.kernels() === kernels)
    #expect(!preparation.isRepeatable)
  }

  @Test("Who needs kernels that cannot be made is told why, and may try again")
  func failure() throws {
    let isBroken = Lock(true)
    let preparation = Preparation(nil) { [backend, program] () throws(ModelError) in
      if isBroken.withLock({ $0 }) { throw ModelError("Its file has changed.") }
      return try backend.load(program, options: LoadOptions(maximumBatch: 1, units: [1]))
    }
    #expect(throws: ModelError.self) { try preparation.kernels() }
    isBroken.withLock { $0 = false }
    _ = try preparation.kernels()
  }
}
