import Engine
import HTTP
import Models
import Vocabulary

/// Writes the answer to an inference request: JSON, then the bytes of its binary outputs.
struct InferAnswer {
  /// The model's name.
  let model: String
  /// How the client wants its outputs.
  let form: OutputForm

  /// The response for a result.
  ///
  /// - Throws: 422 for an output with values that JSON does not have, 500 for a result that is not
  ///   what was asked for.
  func response(to result: InferenceResult) throws(APIError) -> Response {
    var blobs: [Tensor] = []
    var json = JSONWriter(capacity: 256)
    json.open("{")
    json.key("model_name")
    json.string(model)
    json.key("model_version")
    json.string(result.version)
    if let id = form.id {
      json.key("id")
      json.string(id)
    }
    json.key("outputs")
    json.open("[")
    for (index, output) in result.outputs.enumerated() {
      let entry = try entry(index, output.name)
      if let binary = try Self.write(output.tensor, entry, into: &json) { blobs.append(binary) }
    }
    json.close("]")
    json.close("}")
    guard !blobs.isEmpty else {
      return Response(
        status: 200, headers: [("Content-Type", "application/json")], body: json.bytes)
    }
    return Self.binary(json, blobs)
  }

  /// The form of the output at an index of the result.
  private func entry(_ index: Int, _ name: String) throws(APIError) -> OutputForm.Entry {
    guard !form.entries.isEmpty else {
      return .init(name: name, isBinary: form.isBinary, classes: 0)
    }
    guard index < form.entries.count, form.entries[index].name == name else {
      throw APIError(500, "The engine answered with outputs other than those asked for.")
    }
    return form.entries[index]
  }

  /// Writes one output; returns the tensor whose bytes follow the JSON, if they do.
  private static func write(
    _ tensor: Tensor, _ entry: OutputForm.Entry, into json: inout JSONWriter
  ) throws(APIError) -> Tensor? {
    var tensor = tensor
    if entry.classes > 0 {
      guard let best = Classification.best(entry.classes, of: tensor) else {
        throw .invalid("Output '\(entry.name)' has no highest values to classify by.")
      }
      tensor = best
    }
    json.open("{")
    json.key("name")
    json.string(entry.name)
    json.key("datatype")
    json.string(tensor.type.rawValue)
    json.key("shape")
    json.shape(tensor.shape)
    // No other parameter may stand beside binary_data_size: the C++ client reads any
    // `parameters` of an output as the promise of bytes.
    if entry.isBinary {
      json.key("parameters")
      json.open("{")
      json.key("binary_data_size")
      json.integer(BinaryTensors.byteCount(of: tensor))
      json.close("}")
    } else {
      json.key("data")
      do {
        try json.elements(of: tensor)
      } catch {
        throw APIError(
          422,
          "Output '\(entry.name)' holds \(error.what) at element \(error.element), which JSON "
            + "does not have: ask for it with \"parameters\": {\"binary_data\": true}.")
      }
    }
    json.close("}")
    return entry.isBinary ? tensor : nil
  }

  private static func binary(_ json: JSONWriter, _ blobs: [Tensor]) -> Response {
    let jsonCount = json.bytes.count
    var body = json.bytes
    body.reserveCapacity(blobs.reduce(jsonCount) { $0 + BinaryTensors.byteCount(of: $1) })
    for blob in blobs { BinaryTensors.append(blob, to: &body) }
    return Response(
      status: 200,
      headers: [
        ("Content-Type", "application/octet-stream"),
        ("Inference-Header-Content-Length", String(jsonCount)),
      ],
      body: body)
  }
}
