import ArgumentParser
import FoundationEssentials
import Vocabulary

/// `stowage infer`: sends a file to a running server and prints the best classes.
struct InferCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "infer",
    abstract: "Send a request to a running server and print the best classes.",
    discussion: """
      FILE is a request in JSON, as curl would send it, or an array saved with numpy.save, which \
      becomes the model's input: its type is converted to the model's floating-point type, and a \
      missing batch axis is added.

        stowage infer --model digits Examples/digits/7-1.json
      """)

  @Option(help: "Where the server is.")
  var url = "http://127.0.0.1:8000"

  @Option(help: "The model to ask.")
  var model: String

  @Option(help: "The input that an array is for, where the model has several.")
  var input: String?

  @Option(help: "Classes to print for each sample.")
  var top = 5

  @Option(help: "Seconds to wait for the answer.")
  var timeout = 60

  @Argument(help: "A request (.json) or an array (.npy).", completion: .file())
  var file: String

  func validate() throws {
    guard top > 0 else { throw ValidationError("--top must be at least 1.") }
    guard timeout > 0 else { throw ValidationError("--timeout must be at least 1 second.") }
  }

  func run() throws {
    let client = try HTTPClient(url: url, timeout: timeout)
    let content = try read(file)
    let path = "/v2/models/\(Self.percentEncoded(model))"
    let answer: HTTPClient.Answer
    if file.hasSuffix(".npy") {
      let metadata = try metadata(of: client.send(path))
      let array: NumpyFile
      do {
        array = try NumpyFile(content)
      } catch {
        throw HTTPClient.Failure(description: "\(file): \(error.description)")
      }
      let (body, jsonCount) = try request(array, for: metadata)
      answer = try client.send(
        path + "/infer", body: body,
        headers: [
          "Content-Type: application/octet-stream", "Inference-Header-Content-Length: \(jsonCount)",
        ])
    } else {
      answer = try client.send(
        path + "/infer", body: content, headers: ["Content-Type: application/json"])
    }
    try check(answer)
    let jsonCount = answer.headers["inference-header-content-length"].flatMap { Int($0) }
    let inference = try InferAnswer(answer.body, jsonCount: jsonCount)
    print("\(inference.model), version \(inference.version)")
    for output in inference.outputs {
      for line in ClassTable(output: output, top: top).lines { print(line) }
    }
  }

  private func read(_ file: String) throws -> [UInt8] {
    do {
      return try [UInt8](Data(contentsOf: URL(filePath: file)))
    } catch {
      throw HTTPClient.Failure(description: "\(file) cannot be read: is the path right?")
    }
  }

  private func metadata(of answer: HTTPClient.Answer) throws -> ModelMetadata {
    try check(answer)
    return try JSONDecoder().decode(ModelMetadata.self, from: Data(answer.body))
  }

  /// Passes a 200 on and turns everything else into the server's own sentence.
  private func check(_ answer: HTTPClient.Answer) throws {
    guard answer.status != 200 else { return }
    struct ErrorDocument: Decodable { let error: String }
    let document = try? JSONDecoder().decode(ErrorDocument.self, from: Data(answer.body))
    throw HTTPClient.Failure(
      description: "The server answered \(answer.status): "
        + (document?.error ?? "is \(url) a Stowage server?"))
  }

  /// The body for an array: JSON, then the array's bytes.
  private func request(
    _ array: NumpyFile, for model: ModelMetadata
  ) throws -> (body: [UInt8], jsonCount: Int) {
    let target = try target(in: model)
    guard let type = ElementType(rawValue: target.datatype),
      let elements = Numbers.convert(array.elements, from: array.type, to: type)
    else {
      throw HTTPClient.Failure(
        description: "\(file) holds \(array.type.rawValue), but input '\(target.name)' takes "
          + "\(target.datatype): convert it with array.astype and save it again.")
    }
    var shape = array.shape
    if shape.count + 1 == target.shape.count, [-1, 1].contains(target.shape.first) {
      shape.insert(1, at: 0)
    }
    let document = InferRequest(
      inputs: [
        .init(
          name: target.name, datatype: type.rawValue, shape: shape,
          parameters: .init(binary_data_size: elements.count))
      ],
      parameters: .init(binary_data_output: true))
    let json = try JSONEncoder().encode(document)
    return ([UInt8](json) + elements, json.count)
  }

  private func target(in model: ModelMetadata) throws -> ModelMetadata.Tensor {
    let names = model.inputs.map { "'\($0.name)'" }.joined(separator: ", ")
    if let input {
      guard let found = model.inputs.first(where: { $0.name == input }) else {
        throw HTTPClient.Failure(
          description: "Model '\(model.name)' has no input '\(input)'; its inputs are \(names).")
      }
      return found
    }
    guard model.inputs.count == 1, let only = model.inputs.first else {
      throw HTTPClient.Failure(
        description: "Model '\(model.name)' has the inputs \(names): send a JSON request with all "
          + "of them.")
    }
    return only
  }

  /// A name as one segment of a path.
  static func percentEncoded(_ name: String) -> String {
    let plain = Set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~".utf8)
    return name.utf8.map { byte in
      guard !plain.contains(byte) else { return String(UnicodeScalar(byte)) }
      let digits = String(byte, radix: 16, uppercase: true)
      return "%" + (digits.count < 2 ? "0" : "") + digits
    }.joined()
  }
}

/// The JSON of a request with binary inputs; the names are the protocol's.
private struct InferRequest: Encodable {
  struct Input: Encodable {
    struct Parameters: Encodable { let binary_data_size: Int }
    let name: String
    let datatype: String
    let shape: [Int]
    let parameters: Parameters
  }
  struct Parameters: Encodable { let binary_data_output: Bool }
  let inputs: [Input]
  let parameters: Parameters
}
