import API
import Engine
import HTTP
import Metrics
import Models
import Synchronization
import Vocabulary

/// Sends any bytes as the body of an inference request to a model that answers with its inputs.
///
/// Up to the first NUL the bytes are JSON, behind it binary tensors; without one all is JSON.
/// Findings, besides what the sanitizers see: no answer or two, a status that a body alone cannot
/// earn, and an answer in JSON that changes when it is sent back.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzTensors(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: start, count: count))
  let answer: Response
  if let end = bytes.firstIndex(of: 0) {
    answer = ask(Array(bytes[..<end]) + bytes[(end + 1)...], jsonCount: end)
  } else {
    answer = ask(bytes, jsonCount: nil)
  }
  precondition([200, 400, 422, 501].contains(answer.status), "status \(answer.status)")
  guard answer.status == 200, answer.headers.count == 1 else { return 0 }
  let again = ask(renamed(answer.body), jsonCount: nil)
  precondition(again.status == 200, String(decoding: again.body, as: UTF8.self))
  precondition(again.body == answer.body, "the answer changes when it is sent back")
  return 0
}

private let api = InferenceAPI(service: Echo(), version: "1", registry: Registry())

private func ask(_ body: [UInt8], jsonCount: Int?) -> Response {
  let inbox = Inbox()
  let headers = jsonCount.map { [("inference-header-content-length", String($0))] } ?? []
  body.withUnsafeBytes { bytes in
    api.handle(
      Request(
        method: "POST", path: "/v2/models/echo/infer", query: nil, headers: Headers(headers),
        body: bytes),
      sink: inbox)
  }
  let answers = inbox.answers.withLock { $0 }
  precondition(answers.count == 1, "\(answers.count) answers")
  return answers[0]
}

/// The answer as a request: its outputs under the name of inputs.
///
/// The first match is the member: inside a string its quotes would be escaped.
private func renamed(_ body: [UInt8]) -> [UInt8] {
  let text = String(decoding: body, as: UTF8.self)
  return Array(text.replacing("\"outputs\":[", with: "\"inputs\":[", maxReplacements: 1).utf8)
}

private final class Inbox: ResponseSink {
  let answers = Mutex<[Response]>([])

  func send(_ response: Response) { answers.withLock { $0.append(response) } }
}

/// A service whose model has an input and an output of each type and answers with its inputs.
private final class Echo: InferenceService {
  let models: [ModelDescription]
  let isReady = true

  init() {
    let tensors = ElementType.allCases.filter { $0 != .float16 && $0 != .bfloat16 }.map {
      TensorDescription(name: $0.rawValue, type: $0, shape: [-1])
    }
    models = [
      ModelDescription(
        name: "echo", version: "1", state: .ready, inputs: tensors, outputs: tensors)
    ]
  }

  func model(_ name: String, version: String?) -> ModelDescription? { models.first }

  func infer(
    _ request: InferenceRequest,
    completion: @escaping @Sendable (Result<InferenceResult, InferenceError>) -> Void
  ) -> RequestID {
    let outputs =
      request.outputs.isEmpty
      ? request.inputs
      : request.outputs.compactMap { name in request.inputs.first { $0.name == name } }
    if !request.outputs.isEmpty, outputs.count < request.outputs.count {
      completion(.failure(InferenceError(.invalid, "An output without its input.")))
    } else {
      completion(
        .success(
          InferenceResult(
            version: "1", outputs: outputs, queueTime: .zero, computeTime: .zero, batchSamples: 1)))
    }
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
