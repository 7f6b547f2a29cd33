import API
import Engine
import FoundationEssentials
import Glibc
import HTTP
import Metrics
import Models
import Synchronization
import Vocabulary

// How long one 224 × 224 picture takes from the request's body to the engine's tensor, and back
// into an answer's body: as JSON, as binary data, and with Foundation's decoder for comparison.
//
//   STOWAGE_BENCHMARKS=1 swift run -c release --scratch-path .build-benchmarks JSONBenchmark
//
// With an argument, `read`, `short`, `write` or `binary`, runs only that, as often as the second argument
// says: for counting instructions.

/// Answers with its input, or with its first element.
private final class Echo: InferenceService {
  let models: [ModelDescription]
  let isReady = true
  private let returnsAll: Bool

  init(returnsAll: Bool) {
    self.returnsAll = returnsAll
    let image = TensorDescription(name: "x", type: .float32, shape: [-1, 3, 224, 224])
    models = [
      ModelDescription(
        name: "m", version: "1", state: .ready, inputs: [image], outputs: [image])
    ]
  }

  func model(_ name: String, version: String?) -> ModelDescription? { models.first }

  func infer(
    _ request: InferenceRequest,
    completion: @escaping @Sendable (Result<InferenceResult, InferenceError>) -> Void
  ) -> RequestID {
    var outputs = request.inputs
    if !returnsAll {
      outputs = [("x", Tensor(type: .float32, shape: [1], storage: outputs[0].tensor.storage))]
    }
    completion(
      .success(
        InferenceResult(
          version: "1", outputs: outputs, queueTime: .zero, computeTime: .zero, batchSamples: 1)))
    return RequestID(0)
  }

  func cancel(_ request: RequestID) {}

  func forecast(
    _ model: String, version: String?, samples: Int,
    completion: @escaping @Sendable (Result<ModelForecast, InferenceError>) -> Void
  ) {
    completion(.failure(InferenceError(.unavailable, "Nothing is planned here.")))
  }
}

private final class Inbox: ResponseSink {
  let bytes = Atomic<Int>(0)

  func send(_ response: Response) {
    precondition(response.status == 200, String(decoding: response.body, as: UTF8.self))
    bytes.store(response.body.count, ordering: .relaxed)
  }
}

/// The bodies and the two ways of answering them.
private struct Bench {
  static let count = 3 * 224 * 224
  let small = InferenceAPI(service: Echo(returnsAll: false), version: "1", registry: Registry())
  let whole = InferenceAPI(service: Echo(returnsAll: true), version: "1", registry: Registry())
  let inbox = Inbox()
  let json: [UInt8]
  let short: [UInt8]
  let binary: [UInt8]
  let binaryHeader: Int

  init() {
    // A picture after normalisation, as Python's json.dumps prints its floats.
    var state: UInt64 = 5
    let values = (0..<Self.count).map { _ in
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Float(state >> 40) / Float(1 << 24) * 4.5 - 2.1
    }
    let head = #"{"inputs":[{"name":"x","shape":[1,3,224,224],"datatype":"FP32","#
    json = Array(
      (head + #""data":["# + values.map { "\(Double($0))" }.joined(separator: ", ") + "]}]}").utf8)
    // The shortest digits that read back the same, as Swift or JavaScript prints floats.
    short = Array(
      (head + #""data":["# + values.map { "\($0)" }.joined(separator: ",") + "]}]}").utf8)
    let size = Self.count * 4
    let prefix = Array((head + #""parameters":{"binary_data_size":\#(size)}}]}"#).utf8)
    binaryHeader = prefix.count
    binary = prefix + values.withUnsafeBytes { Array($0) }
  }

  func read() { ask(small, json, []) }
  func readShort() { ask(small, short, []) }
  func readAndWrite() { ask(whole, json, []) }
  func readBinary() {
    ask(small, binary, [("inference-header-content-length", String(binaryHeader))])
  }

  private func ask(
    _ api: InferenceAPI, _ body: [UInt8], _ headers: [(name: String, value: String)]
  ) {
    body.withUnsafeBytes { bytes in
      api.handle(
        Request(
          method: "POST", path: "/v2/models/m/infer", query: nil, headers: Headers(headers),
          body: bytes),
        sink: inbox)
    }
  }

  func readWithFoundation() {
    struct Body: Decodable {
      struct Input: Decodable { let data: [Float] }
      let inputs: [Input]
    }
    let body = try? JSONDecoder().decode(Body.self, from: Data(json))
    precondition(body?.inputs.first?.data.count == Self.count)
  }
}

private func milliseconds(_ body: () -> Void) -> Double {
  let start = ContinuousClock.now
  body()
  return (ContinuousClock.now - start).inMilliseconds
}

@main
struct JSONBenchmark {
  static func main() {
    let bench = Bench()
    let arguments = CommandLine.arguments
    if arguments.count == 3, let rounds = Int(arguments[2]) {
      for _ in 0..<rounds {
        switch arguments[1] {
        case "read": bench.read()
        case "short": bench.readShort()
        case "write": bench.readAndWrite()
        default: bench.readBinary()
        }
      }
      return
    }
    let cases: [(name: String, bytes: Int, run: () -> Void)] = [
      ("long JSON in, one number out", bench.json.count, bench.read),
      ("long JSON in, JSON out", bench.json.count, bench.readAndWrite),
      ("short JSON in, one number out", bench.short.count, bench.readShort),
      ("binary in, one number out", bench.binary.count, bench.readBinary),
      ("Foundation's JSONDecoder, in only", bench.json.count, bench.readWithFoundation),
    ]
    var times = cases.map { _ in [Double]() }
    // Alternating, so that a busy moment of the machine meets all of them.
    for _ in 0..<31 {
      for (index, one) in cases.enumerated() { times[index].append(milliseconds(one.run)) }
    }
    print("| case | body, bytes | median ms | fastest ms | MB/s at the median |")
    print("|---|---|---|---|---|")
    for (one, all) in zip(cases, times) {
      let sorted = all.sorted()
      let (median, fastest) = (sorted[sorted.count / 2], sorted[0])
      let rate = Double(one.bytes) / median / 1000
      print(
        "| \(one.name) | \(one.bytes) | \(rounded(median)) | \(rounded(fastest)) | "
          + "\(Int(rate)) |")
    }
  }

  private static func rounded(_ value: Double) -> Double { (value * 1000).rounded() / 1000 }
}
