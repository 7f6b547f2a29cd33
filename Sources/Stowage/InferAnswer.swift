import FoundationEssentials
import Vocabulary

/// A model's metadata, as far as sending an array needs it.
struct ModelMetadata: Decodable {
  /// An input or output.
  struct Tensor: Decodable {
    let name: String
    let datatype: String
    let shape: [Int]
  }

  let name: String
  let inputs: [Tensor]
}

/// The answer to an inference request, with outputs in JSON or behind it.
struct InferAnswer {
  /// One output as numbers.
  struct Output {
    var name: String
    var datatype: String
    var shape: [Int]
    /// The elements; empty for strings.
    var values: [Double]
    /// The elements of a BYTES output.
    var strings: [String]
  }

  var model: String
  var version: String
  var outputs: [Output]

  /// Reads a response's body, whose first `jsonCount` bytes are JSON; all of it when nil.
  init(_ body: [UInt8], jsonCount: Int?) throws {
    let json = body.prefix(jsonCount ?? body.count)
    let document = try JSONDecoder().decode(Document.self, from: Data(json))
    model = document.model_name
    version = document.model_version ?? "1"
    outputs = []
    var rest = body[json.endIndex...]
    for output in document.outputs {
      var (values, strings) = ([Double](), [String]())
      if let size = output.parameters?.binary_data_size {
        let bytes = Array(rest.prefix(size))
        rest = rest.dropFirst(size)
        if let type = ElementType(rawValue: output.datatype) {
          values = Numbers.read(bytes, as: type)
          if type == .string { strings = Self.strings(bytes) }
        }
      } else {
        values = output.data?.compactMap(\.number) ?? []
        strings = output.data?.compactMap(\.text) ?? []
      }
      outputs.append(
        Output(
          name: output.name, datatype: output.datatype, shape: output.shape, values: values,
          strings: strings))
    }
  }

  private static func strings(_ bytes: [UInt8]) -> [String] {
    var (strings, rest) = ([String](), bytes[...])
    while rest.count >= 4 {
      let count = rest.prefix(4).reversed().reduce(0) { $0 << 8 | Int($1) }
      rest = rest.dropFirst(4)
      strings.append(String(decoding: rest.prefix(count), as: UTF8.self))
      rest = rest.dropFirst(count)
    }
    return strings
  }

  // The names are the protocol's.
  private struct Document: Decodable {
    struct Output: Decodable {
      struct Parameters: Decodable { let binary_data_size: Int? }
      let name: String
      let datatype: String
      let shape: [Int]
      let data: [Element]?
      let parameters: Parameters?
    }
    let model_name: String
    let model_version: String?
    let outputs: [Output]
  }

  /// One element of a JSON tensor.
  private struct Element: Decodable {
    var number: Double?
    var text: String?

    init(from decoder: any Decoder) throws {
      let container = try decoder.singleValueContainer()
      if let value = try? container.decode(Double.self) {
        number = value
      } else if let value = try? container.decode(Bool.self) {
        number = value ? 1 : 0
      } else {
        text = try container.decode(String.self)
      }
    }
  }
}
