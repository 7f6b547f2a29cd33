import Backend
import Compiler
import Logging
import Metrics
import Models
import NullBackend
import ReferenceBackend
import Scheduling
import Testing
import Threads
import Vocabulary

@testable import Engine

/// An engine with one model, `m`.
private func engine(
  _ configuration: EngineConfiguration = EngineConfiguration(units: 2, executors: 2),
  cost: @escaping NullBackend.Cost = { _, _, _ in .zero }
) throws -> Engine {
  let engine = Engine(
    configuration: configuration, backend: NullBackend(computeUnits: 2, cost: cost),
    policy: Scheduler(SchedulerOptions(units: 2, executors: configuration.executors)),
    registry: Registry(), logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
  engine.catalog.expect([ModelDescription(name: "m", version: "1", state: .loading)])
  try engine.publish("m", version: "1", makeProduct { Float($0) })
  return engine
}

private func request(_ samples: Int, timeout: Duration? = nil) -> InferenceRequest {
  InferenceRequest(
    model: "m",
    inputs: [
      (
        "x",
        Tensor(
          type: .float32, shape: [samples, 2], storage: TensorStorage(byteCount: samples * 8))
      )
    ], timeout: timeout)
}

/// Waits for the answer to one request.
private func infer(
  _ engine: Engine, _ request: InferenceRequest
) -> Result<InferenceResult, InferenceError> {
  let answer = Lock<Result<InferenceResult, InferenceError>?>(nil)
  engine.infer(request) { result in answer.notify { $0 = result } }
  return answer.wait { $0 }
}

private func failure(_ result: Result<InferenceResult, InferenceError>) -> InferenceError? {
  if case .failure(let error) = result { error } else { nil }
}

@Suite("Engine")
struct EngineTests {
  @Test("A request is answered with its own samples")
  func answers() throws {
    let engine = try engine()
    let result = try infer(engine, request(3)).get()
    #expect(result.outputs.map(\.name) == ["y"])
    #expect(result.outputs[0].tensor.shape == [3, 3])
    #expect(result.version == "1")
    engine.drain(within: .seconds(5))
  }

  @Test("What does not fit the model is refused with a sentence that names it")
  func refusals() throws {
    let engine = try engine()
    let unknown = InferenceRequest(model: "other", inputs: [])
    #expect(failure(infer(engine, unknown))?.kind == .notFound)
    var wrong = request(1)
    wrong.inputs[0].name = "z"
    #expect(failure(infer(engine, wrong))?.message.contains("no input 'z'") == true)
    #expect(
      failure(infer(engine, InferenceRequest(model: "m", inputs: [])))?.message
        .contains("needs input 'x'") == true)
    var output = request(1)
    output.outputs = ["q"]
    #expect(failure(infer(engine, output))?.message.contains("no output 'q'") == true)
    #expect(failure(infer(engine, request(10_000)))?.kind == .invalid)
    #expect(failure(infer(engine, request(0)))?.message.contains("no samples") == true)
    engine.drain(within: .seconds(5))
  }

  @Test("A plan can be asked for as long as the engine decides")
  func plans() throws {
    let engine = try engine()
    func ask(_ model: String, _ samples: Int) -> Result<ModelForecast, InferenceError> {
      let answer = Lock<Result<ModelForecast, InferenceError>?>(nil)
      engine.forecast(model, version: nil, samples: samples) { result in
        answer.notify { $0 = result }
      }
      return answer.wait { $0 }
    }
    let plan = try ask("m", 3).get()
    #expect(plan.version == "1")
    #expect(plan.forecast.samples == 3)
    #expect(plan.forecast.segments.map(\.layers) == [0..<plan.layers.count])
    for (model, samples, kind) in [
      ("m", 0, InferenceError.Kind.invalid), ("m", 10_000, .invalid), ("other", 1, .notFound),
    ] {
      guard case .failure(let error) = ask(model, samples) else {
        Issue.record("\(samples) samples of \(model) have a plan.")
        continue
      }
      #expect(error.kind == kind)
    }
    engine.drain(within: .seconds(5))
    guard case .failure(let error) = ask("m", 1) else {
      Issue.record("An engine that has ended plans.")
      return
    }
    #expect(error.kind == .unavailable)
  }

  @Test("What batches took is compared with what was predicted, once something is known")
  func predictions() throws {
    let engine = try engine { _, _, _ in .microseconds(200) }
    for _ in 0..<3 { _ = try infer(engine, request(1)).get() }
    engine.drain(within: .seconds(5))
    let text = String(decoding: engine.registry.text(), as: UTF8.self)
    let name = #"stowage_batch_measured_ratio_count{model="m",version="1"}"#
    let counted = text.split(separator: "\n").first { $0.hasPrefix(name) }
    // Nothing is known of the first batch.
    #expect(counted == "\(name) 2")
  }

  @Test("A request whose timeout passes in the queue is told so")
  func timeouts() throws {
    let gate = Lock(false)
    let engine = try engine(EngineConfiguration(units: 2, executors: 1)) { _, _, _ in
      gate.wait { $0 ? .zero : nil }
    }
    let first = Lock<Bool>(false)
    engine.infer(request(1)) { _ in first.notify { $0 = true } }
    let late = infer(engine, request(1, timeout: .milliseconds(5)))
    #expect(failure(late)?.kind == .deadlinePassed)
    gate.notify { $0 = true }
    first.wait { $0 ? () : nil }
    engine.drain(within: .seconds(5))
  }

  @Test("Draining answers what was admitted and refuses what comes later")
  func draining() throws {
    let engine = try engine { _, _, _ in .milliseconds(1) }
    let answered = Lock(0)
    for _ in 0..<20 { engine.infer(request(1)) { _ in answered.notify { $0 += 1 } } }
    engine.drain(within: .seconds(20))
    #expect(answered.withLock { $0 } == 20)
    #expect(failure(infer(engine, request(1)))?.kind == .unavailable)
  }

  @Test("Requests with strings that travel in one batch get their own back")
  func strings() throws {
    let graph = Graph(
      name: "g",
      values: [
        Value(name: "x", type: .string, shape: [.symbol("n"), .fixed(2)]),
        Value(name: "y", type: .string, shape: [.symbol("n"), .fixed(2)]),
      ],
      nodes: [
        Node(
          name: "same", operation: "Identity", opset: 13, inputs: [ValueID(0)],
          outputs: [ValueID(1)])
      ],
      inputs: [ValueID(0)], outputs: [ValueID(1)])
    let program = try Compiler.compile(graph)
    guard case .independent = program.batching else {
      Issue.record("The samples of an identity are independent.")
      return
    }
    let engine = Engine(
      configuration: EngineConfiguration(units: 1, executors: 1, maximumBatch: 8),
      backend: ReferenceBackend(), policy: Scheduler(SchedulerOptions(units: 1, executors: 1)),
      registry: Registry(), logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    engine.catalog.expect([ModelDescription(name: "m", version: "1", state: .loading)])
    try engine.publish("m", version: "1", program)
    let answers = Lock<[Int: [[UInt8]]]>([:])
    for number in 0..<60 {
      let words = (0..<2 * (1 + number % 2)).map { Array("\(number).\($0)".utf8) }
      let tensor = Tensor(strings: words, shape: [words.count / 2, 2])
      engine.infer(InferenceRequest(model: "m", inputs: [("x", tensor)])) { result in
        let found = (try? result.get().outputs.first?.tensor.strings) ?? []
        answers.notify { $0[number] = found == words ? [] : found + [[]] }
      }
    }
    answers.wait { $0.count == 60 ? () : nil }
    #expect(answers.withLock { $0.values.allSatisfy(\.isEmpty) })
    engine.drain(within: .seconds(5))
  }

  @Test("An index beyond the table fails its own request and none that travels with it")
  func oneBadRequest() throws {
    let table = Tensor.make(.float32, [3], as: Float.self) { elements in
      for index in elements.indices { elements[index] = Float(index) }
    }
    let graph = Graph(
      name: "g",
      values: [
        Value(name: "x", type: .int64, shape: [.symbol("n"), .fixed(1)]),
        Value(name: "table", type: .float32, shape: [.fixed(3)], constant: table),
        Value(name: "y", type: .float32, shape: [.symbol("n"), .fixed(1)]),
      ],
      nodes: [
        Node(
          name: "pick", operation: "Gather", opset: 13, inputs: [ValueID(1), ValueID(0)],
          outputs: [ValueID(2)])
      ],
      inputs: [ValueID(0)], outputs: [ValueID(2)])
    let engine = Engine(
      configuration: EngineConfiguration(units: 1, executors: 1, maximumBatch: 8),
      backend: ReferenceBackend(), policy: Scheduler(SchedulerOptions(units: 1, executors: 1)),
      registry: Registry(), logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    engine.catalog.expect([ModelDescription(name: "m", version: "1", state: .loading)])
    try engine.publish("m", version: "1", Compiler.compile(graph))
    let answers = Lock<[Int: Float?]>([:])
    for number in 0..<60 {
      let index = Tensor.make(.int64, [1, 1], as: Int64.self) { $0[0] = Int64(number % 4) }
      engine.infer(InferenceRequest(model: "m", inputs: [("x", index)])) { result in
        let found = try? result.get().outputs[0].tensor
        answers.notify { $0[number] = .some(found?.withElements(as: Float.self) { $0[0] }) }
      }
    }
    answers.wait { $0.count == 60 ? () : nil }
    for (number, found) in answers.withLock({ $0 }) {
      #expect(found == (number % 4 < 3 ? Float(number % 4) : nil), "request \(number)")
    }
    engine.drain(within: .seconds(5))
  }

  @Test("A shape's number is never another shape's, however many come")
  func shapeClasses() {
    var classes = ShapeClasses()
    var seen: Set<Int> = []
    for size in 0..<3 * Limits.shapeClasses {
      #expect(seen.insert(classes.number(of: [1, size])).inserted)
      #expect(seen.contains(classes.number(of: [1, size])))
    }
  }

  @Test("Every request of many threads is answered exactly once")
  func stress() throws {
    let engine = try engine(
      EngineConfiguration(units: 2, executors: 2, maximumBatch: 8, queueLimit: 16))
    let (answers, refused) = (Lock<[Int: Int]>([:]), Lock(0))
    let threads = (0..<4).map { thread in
      Thread("client-\(thread)") {
        for number in 0..<500 {
          let key = thread * 1000 + number
          let id = engine.infer(request(1 + number % 3)) { result in
            if case .failure(let error) = result, error.kind != .cancelled {
              refused.withLock { $0 += 1 }
            }
            answers.notify { $0[key, default: 0] += 1 }
          }
          if number % 7 == 0 { engine.cancel(id) }
        }
      }
    }
    for thread in threads { thread.join() }
    answers.wait { $0.count == 2000 ? () : nil }
    #expect(answers.withLock { $0.values.allSatisfy { $0 == 1 } })
    engine.drain(within: .seconds(20))
    #expect(answers.withLock { $0.count } == 2000)
  }
}
