import Engine
import HTTP
import Vocabulary

/// The answers that describe the server and its models.
enum Metadata {
  /// The extensions of the protocol that work here.
  static let extensions = ["binary_tensor_data", "classification", "parameters", "schedule_policy"]

  /// Name, version and extensions of the server.
  static func server(version: String) -> Response {
    var json = JSONWriter()
    json.open("{")
    json.key("name")
    json.string("stowage")
    json.key("version")
    json.string(version)
    json.key("extensions")
    json.open("[")
    for name in extensions { json.string(name) }
    json.close("]")
    json.close("}")
    return ok(json)
  }

  /// That the process answers; it does whenever this runs.
  static func live() -> Response {
    var json = JSONWriter()
    json.open("{")
    json.key("live")
    json.boolean(true)
    json.close("}")
    return ok(json)
  }

  /// Whether requests are taken: 200 or 503, with a body in both cases, which KServe's client
  /// reads.
  static func ready(_ isReady: Bool) -> Response {
    var json = JSONWriter()
    json.open("{")
    json.key("live")
    json.boolean(true)
    json.key("ready")
    json.boolean(isReady)
    json.close("}")
    return ok(json, status: isReady ? 200 : 503)
  }

  /// Every version of every model with its state, and the reason where it was refused.
  static func models(_ models: [ModelDescription]) -> Response {
    var json = JSONWriter(capacity: 512)
    json.open("{")
    json.key("models")
    json.open("[")
    for model in models {
      json.open("{")
      json.key("name")
      json.string(model.name)
      json.key("version")
      json.string(model.version)
      json.key("state")
      switch model.state {
      case .loading: json.string("LOADING")
      case .ready: json.string("READY")
      case .unavailable(let reason):
        json.string("UNAVAILABLE")
        json.key("reason")
        json.string(reason)
      }
      json.close("}")
    }
    json.close("]")
    json.close("}")
    return ok(json)
  }

  /// Whether a model takes requests: 200, or 503 with the reason.
  static func modelReady(_ model: ModelDescription) -> Response {
    var json = JSONWriter()
    json.open("{")
    json.key("name")
    json.string(model.name)
    json.key("ready")
    json.boolean(model.state == .ready)
    if let reason = model.reasonNotReady {
      json.key("error")
      json.string(reason)
    }
    json.close("}")
    return ok(json, status: model.state == .ready ? 200 : 503)
  }

  /// Inputs, outputs and versions of a model that is ready.
  static func model(_ model: ModelDescription, versions: [String]) -> Response {
    var json = JSONWriter(capacity: 512)
    json.open("{")
    json.key("name")
    json.string(model.name)
    json.key("versions")
    json.open("[")
    for version in versions { json.string(version) }
    json.close("]")
    json.key("platform")
    json.string("onnx_onnxv1")
    json.key("inputs")
    write(model.inputs, into: &json)
    json.key("outputs")
    write(model.outputs, into: &json)
    writePrecision(of: model, into: &json)
    json.close("}")
    return ok(json)
  }

  /// What the model is computed with, and what that costs.
  private static func writePrecision(of model: ModelDescription, into json: inout JSONWriter) {
    json.key("parameters")
    json.open("{")
    json.key("precision")
    json.string(model.precision.rawValue)
    if let loss = model.precisionLoss {
      json.key("difference_from_fp32")
      json.open("{")
      json.key("root_mean_square")
      json.fraction(loss.rootMeanSquare)
      json.key("largest")
      json.fraction(loss.largest)
      json.close("}")
    }
    json.close("}")
  }

  private static func write(_ tensors: [TensorDescription], into json: inout JSONWriter) {
    json.open("[")
    for tensor in tensors {
      json.open("{")
      json.key("name")
      json.string(tensor.name)
      json.key("datatype")
      json.string(tensor.type.rawValue)
      json.key("shape")
      json.shape(tensor.shape)
      json.close("}")
    }
    json.close("]")
  }

  private static func ok(_ json: JSONWriter, status: Int = 200) -> Response {
    Response(status: status, headers: [("Content-Type", "application/json")], body: json.bytes)
  }
}

extension ModelDescription {
  /// Why it takes no requests; nil when it does.
  var reasonNotReady: String? {
    switch state {
    case .ready: nil
    case .loading: "Model '\(name)' is still being loaded. Try again in a moment."
    case .unavailable(let reason): "Model '\(name)' cannot be served. \(reason)"
    }
  }
}
