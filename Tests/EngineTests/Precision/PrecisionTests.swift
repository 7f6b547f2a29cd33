import Backend
import Compiler
import Glibc
import Logging
import Metrics
import Models
import ReferenceBackend
import Scheduling
import Testing
import Vocabulary

@testable import Engine

/// Computes as `Reference` does; in BF16 with weights that are a hundredth too large.
private struct Exaggerating: Backend {
  private let exact = ReferenceBackend()

  var name: String { "exaggerating" }
  var computeUnits: Int { 1 }

  func refusal(of precision: Precision) -> String? { nil }

  func load(
    _ program: Program, options: LoadOptions
  ) throws(ModelError) -> any LoadedModel {
    var (program, options) = (program, options)
    if options.precision == .bfloat16 {
      for index in program.graph.values.indices {
        guard let weights = program.graph.values[index].constant else { continue }
        program.graph.values[index].constant = weights.withElements(as: Float.self) { weights in
          Tensor.make(.float32, [weights.count], as: Float.self) { elements in
            for index in elements.indices { elements[index] = 1.01 * weights[index] }
          }
        }.reshaped(weights.shape)
      }
    }
    options.precision = .float32
    return try exact.load(program, options: options)
  }
}

private func engine(_ choice: PrecisionChoice, _ backend: any Backend) -> Engine {
  let engine = Engine(
    configuration: EngineConfiguration(precision: choice), backend: backend,
    policy: Scheduler(SchedulerOptions(units: 1)), registry: Registry(),
    logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
  engine.catalog.expect(
    ["a", "b"].map { ModelDescription(name: $0, version: "1", state: .loading) })
  return engine
}

@Suite("Precision of each model")
struct PrecisionTests {
  @Test("What a reduced precision costs is measured at load and told with the model")
  func loss() throws {
    let engine = engine(PrecisionChoice(byModel: ["a": .bfloat16]), Exaggerating())
    for name in ["a", "b"] { try engine.publish(name, version: "1", makeProduct { Float($0) - 2 }) }
    let (reduced, exact) = (engine.model("a", version: nil), engine.model("b", version: nil))
    #expect(reduced?.precision == .bfloat16)
    #expect(abs((reduced?.precisionLoss?.rootMeanSquare ?? 0) - 0.01) < 1e-5)
    #expect(abs((reduced?.precisionLoss?.largest ?? 0) - 0.01) < 1e-5)
    #expect(exact?.precision == .float32)
    #expect(exact?.precisionLoss == nil)
    engine.drain(within: .seconds(5))
  }

  @Test("A backend that has no such precision refuses the model with a sentence")
  func refusal() throws {
    let engine = engine(PrecisionChoice(standard: .bfloat16), ReferenceBackend())
    let program = try makeProduct { Float($0) - 2 }
    #expect {
      try engine.publish("a", version: "1", program)
    } throws: {
      "\($0)".contains("fp32 only")
    }
    engine.drain(within: .seconds(5))
  }

  @Test("A kept loss is found under its key alone, and packed weights differ by precision")
  func kept() {
    let path = "/tmp/stowage-precision-\(getpid())"
    defer { unlink(path) }
    let loss = PrecisionLoss(rootMeanSquare: 0.0125, largest: 0.25)
    PrecisionFile.write(loss, path, key: "k")
    #expect(PrecisionFile.read(path, key: "k") == loss)
    #expect(PrecisionFile.read(path, key: "l") == nil)
    #expect("\(loss)" == "1.3 % (root mean square), 25.0 % of the largest output at most")
    var options = LoadOptions(maximumBatch: 1, units: [1])
    let exact = PackedFolder.key([], packing: "p", options)
    options.precision = .bfloat16
    #expect(PackedFolder.key([], packing: "p", options) != exact)
  }
}
