import CSimdJSON
import Engine
import Models
import Vocabulary

/// How the outputs of one request are to be written.
struct OutputForm: Sendable {
  /// One output's form.
  struct Entry: Sendable {
    var name: String
    /// Whether its elements follow the JSON as bytes.
    var isBinary: Bool
    /// The classes wanted instead of all elements; 0 for all elements.
    var classes: Int
  }

  /// The id to repeat.
  var id: String?
  /// What an output takes that `entries` does not name.
  var isBinary = false
  /// The outputs asked for; empty for all.
  var entries: [Entry] = []
}

/// The body of an inference request: JSON, then the bytes of its binary inputs.
struct InferBody {
  /// The model asked for.
  let model: ModelDescription
  /// The version in the path.
  let version: String?

  /// Reads a body whose first `jsonCount` bytes are JSON; all of it when nil, none when 0.
  ///
  /// - Throws: 400 with the place and the remedy, 501 for extensions that are not offered.
  func read(
    _ body: UnsafeRawBufferPointer, jsonCount: Int?
  ) throws(APIError) -> (request: InferenceRequest, form: OutputForm) {
    if jsonCount == 0 { return try readRaw(body) }
    let json = UnsafeRawBufferPointer(rebasing: body[..<(jsonCount ?? body.count)])
    let blobs = UnsafeRawBufferPointer(rebasing: body[json.count...])
    guard let reader = stowage_json_thread_reader() else {
      throw APIError(503, "There is no memory to read this request now.", retryAfter: 1)
    }
    defer { stowage_json_trim(reader) }

    var outline = stowage_json_request()
    var problem = stowage_json_error()
    let limits = stowage_json_limits(depth: Limits.jsonDepth, tensors: Limits.tensorsPerRequest)
    guard stowage_json_read(reader, json.baseAddress, json.count, limits, &outline, &problem) else {
      throw .json(problem)
    }
    var request = InferenceRequest(model: model.name, version: version, inputs: [])
    request.priority = Self.priority(outline.priority)
    if outline.timeout > 0 {
      request.timeout = .microseconds(Int64(clamping: outline.timeout))
    }
    let form = try form(of: outline)
    request.outputs = form.entries.map(\.name)
    request.inputs = try inputs(of: outline, reader: reader, jsonBytes: json.count, blobs: blobs)
    return (request, form)
  }

  /// The engine's priority for the protocol's, where 1 is first and 0 is the default.
  ///
  /// The default stands second, so that a request can ask to go before it or behind it.
  static func priority(_ value: UInt64) -> Int {
    value == 0 ? 1 : Int(clamping: min(value - 1, UInt64(Int32.max)))
  }

  /// A body that is nothing but the bytes of a model's only input, for one sample.
  private func readRaw(
    _ body: UnsafeRawBufferPointer
  ) throws(APIError) -> (request: InferenceRequest, form: OutputForm) {
    guard model.inputs.count == 1, let input = model.inputs.first else {
      throw .invalid(
        "A body without JSON needs a model with one input, but '\(model.name)' has "
          + "\(model.inputs.count): describe them in JSON and send their bytes behind it.")
    }
    var shape = input.shape
    if shape.first == -1 { shape[0] = 1 }
    guard !shape.contains(-1) else {
      throw .invalid(
        "Input '\(input.name)' of '\(model.name)' has shape \(input.shape): give its dimensions "
          + "in JSON and send its bytes behind it.")
    }
    let tensor: Tensor
    if input.type == .string, shape.elementCount == 1 {
      tensor = Tensor(strings: [[UInt8](body)], shape: shape)
    } else {
      tensor = try BinaryTensors.read(
        body, name: input.name, type: input.type, shape: shape, count: shape.elementCount)
    }
    let request = InferenceRequest(
      model: model.name, version: version, inputs: [(input.name, tensor)],
      priority: Self.priority(0))
    return (request, OutputForm(isBinary: true))
  }

  private func form(of outline: stowage_json_request) throws(APIError) -> OutputForm {
    var form = OutputForm()
    if outline.has_id, outline.id.count > 0 { form.id = String(outline.id) }
    form.isBinary = outline.binary_data_output == 1
    for output in UnsafeBufferPointer(start: outline.outputs, count: outline.output_count) {
      let name = String(output.name)
      guard !output.has_shared_memory else { throw Self.sharedMemory(name) }
      guard let known = model.outputs.first(where: { $0.name == name }) else {
        throw .invalid(
          "Model '\(model.name)' has no output '\(name)'; its outputs are "
            + model.outputs.map { "'\($0.name)'" }.joined(separator: ", ") + ".")
      }
      guard !form.entries.contains(where: { $0.name == name }) else {
        throw .invalid("Output '\(name)' is asked for twice.")
      }
      let entry = OutputForm.Entry(
        name: name,
        isBinary: output.binary_data < 0 ? form.isBinary : output.binary_data == 1,
        classes: Int(clamping: output.classification))
      try check(entry, known)
      form.entries.append(entry)
    }
    if form.entries.isEmpty {
      for output in model.outputs {
        try check(.init(name: output.name, isBinary: form.isBinary, classes: 0), output)
      }
    }
    return form
  }

  /// Refuses at once what the answer could not say.
  private func check(
    _ entry: OutputForm.Entry, _ output: TensorDescription
  ) throws(APIError) {
    if entry.classes > 0 {
      guard output.type != .string, output.type != .bool else {
        throw .invalid(
          "Output '\(output.name)' is \(output.type.rawValue), which has no highest values to "
            + "classify by.")
      }
    } else if !entry.isBinary, output.type.jsonType == nil {
      throw .invalid(
        "Output '\(output.name)' is \(output.type.rawValue), which JSON does not carry: ask for "
          + "it with \"parameters\": {\"binary_data\": true}.")
    }
  }

  private static func sharedMemory(_ name: String) -> APIError {
    APIError(
      501, "Shared memory is not offered: send or take '\(name)' as binary data in the body.")
  }
}

// MARK: Inputs

extension InferBody {
  /// What is known of one input before its data is read.
  private struct Input {
    var name: String
    var type: ElementType
    var shape: [Int]
    var count: Int
    var hasData: Bool
    /// Its bytes behind the JSON, when it is binary.
    var byteCount: Int?
  }

  private func inputs(
    of outline: stowage_json_request, reader: OpaquePointer, jsonBytes: Int,
    blobs: UnsafeRawBufferPointer
  ) throws(APIError) -> [(name: String, tensor: Tensor)] {
    var inputs: [Input] = []
    inputs.reserveCapacity(outline.input_count)
    for raw in UnsafeBufferPointer(start: outline.inputs, count: outline.input_count) {
      let input = try Self.input(raw, jsonBytes: jsonBytes)
      guard !inputs.contains(where: { $0.name == input.name }) else {
        throw .invalid("Input '\(input.name)' is given twice.")
      }
      inputs.append(input)
    }
    var parsed: [JSONData.Column] = []
    if inputs.contains(where: \.hasData) {
      parsed = try JSONData(inputs.map { ($0.name, $0.hasData ? ($0.type, $0.count) : nil) })
        .fill(from: reader)
    }
    var tensors: [(name: String, tensor: Tensor)] = []
    tensors.reserveCapacity(inputs.count)
    var offset = 0
    for (index, input) in inputs.enumerated() {
      let tensor: Tensor
      if let byteCount = input.byteCount {
        guard blobs.count - offset >= byteCount else {
          throw .invalid(
            "Input '\(input.name)' says it has \(byteCount) binary bytes, but only "
              + "\(blobs.count - offset) follow the JSON.")
        }
        let bytes = UnsafeRawBufferPointer(rebasing: blobs[offset..<offset + byteCount])
        tensor = try BinaryTensors.read(
          bytes, name: input.name, type: input.type, shape: input.shape, count: input.count)
        offset += byteCount
      } else {
        tensor = parsed[index].tensor(of: input.shape)
      }
      tensors.append((input.name, tensor))
    }
    guard offset == blobs.count else {
      throw .invalid(
        "\(blobs.count - offset) bytes are left over after the binary inputs: each input's "
          + "binary_data_size and Inference-Header-Content-Length must add up to the body.")
    }
    return tensors
  }

  private static func input(
    _ raw: stowage_json_tensor, jsonBytes: Int
  ) throws(APIError) -> Input {
    let name = String(raw.name)
    guard raw.has_datatype else { throw .invalid("Input '\(name)' has no 'datatype'.") }
    guard raw.has_shape else { throw .invalid("Input '\(name)' has no 'shape'.") }
    guard !raw.has_shared_memory else { throw sharedMemory(name) }
    guard let type = ElementType(rawValue: String(raw.datatype)) else {
      throw .invalid(
        "Input '\(name)' has the unknown datatype '\(String(raw.datatype))'; known are "
          + ElementType.allCases.map(\.rawValue).joined(separator: ", ") + ".")
    }
    let isBinary = raw.binary_data_size >= 0
    guard raw.has_data != isBinary else {
      throw .invalid(
        isBinary
          ? "Input '\(name)' has both 'data' and 'binary_data_size'; give one of them."
          : "Input '\(name)' has neither 'data' nor the parameter 'binary_data_size'.")
    }
    var (shape, count) = ([Int](), 1)
    for index in 0..<raw.rank {
      let dimension = Int(raw.dimension(index))
      let (product, overflow) = count.multipliedReportingOverflow(by: dimension)
      guard !overflow, product <= Limits.tensorElements else {
        throw .invalid("The shape of input '\(name)' has more elements than a tensor may have.")
      }
      shape.append(dimension)
      count = product
    }
    if !isBinary {
      guard type.jsonType != nil else {
        throw .invalid(
          "Input '\(name)' is \(type.rawValue), which JSON does not carry: send it as binary data.")
      }
      // Every element takes a byte of JSON at least: a huge shape reserves nothing.
      guard count <= jsonBytes else {
        throw JSONData.wrongCount(name, wanted: count)
      }
    }
    return Input(
      name: name, type: type, shape: shape, count: count, hasData: raw.has_data,
      byteCount: isBinary ? Int(raw.binary_data_size) : nil)
  }
}

extension String {
  /// Copies text out of the reader's memory.
  init(_ text: stowage_json_text) {
    self.init(decoding: UnsafeBufferPointer(start: text.bytes, count: text.count), as: UTF8.self)
  }
}

extension stowage_json_tensor {
  /// One dimension of the shape, which C hands over as a tuple.
  fileprivate func dimension(_ index: Int) -> Int64 {
    withUnsafeBytes(of: shape) { $0.load(fromByteOffset: index * 8, as: Int64.self) }
  }
}
