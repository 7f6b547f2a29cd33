import Engine
import HTTP
import Scheduling
import Vocabulary

/// The answer that says how samples would go through a model now, and why.
struct PlanAnswer {
  let model: String
  let forecast: ModelForecast

  private var plan: Forecast { forecast.forecast }

  /// The plan as JSON.
  var response: Response {
    var json = JSONWriter(capacity: 1024)
    json.open("{")
    json.key("model_name")
    json.string(model)
    json.key("model_version")
    json.string(forecast.version)
    json.key("samples")
    json.integer(plan.samples)
    json.key("largest_batch")
    json.integer(plan.largestBatch)
    json.key("fits")
    json.boolean(!plan.segments.isEmpty)
    json.key("reason")
    json.string(reason)
    json.key("units")
    json.integer(plan.units)
    write(plan.time, as: "predicted_ms", &json)
    write(plan.computeTime, as: "compute_ms", &json)
    write(plan.pageInTime, as: "page_in_ms", &json)
    writeMemory(&json)
    json.key("segments")
    json.open("[")
    for segment in plan.segments { write(segment, &json) }
    json.close("]")
    json.close("}")
    return Response(
      status: 200, headers: [("Content-Type", "application/json")], body: json.bytes)
  }

  private func writeMemory(_ json: inout JSONWriter) {
    if let budget = plan.budget {
      json.key("budget_bytes")
      json.integer(budget.bytes)
    }
    json.key("needed_bytes")
    json.integer(plan.needed.bytes)
    json.key("page_in_bytes")
    json.integer(plan.pageIns.bytes)
    json.key("resident_bytes")
    json.integer(plan.resident.bytes)
  }

  private func write(_ segment: Forecast.Segment, _ json: inout JSONWriter) {
    json.open("{")
    json.key("first_layer")
    json.string(name(segment.layers.lowerBound))
    json.key("last_layer")
    json.string(name(segment.layers.upperBound - 1))
    json.key("layers")
    json.integer(segment.layers.count)
    json.key("chunk")
    json.integer(segment.chunk)
    json.key("layer_batches")
    json.shape(segment.layerBatches)
    write(segment.computeTime, as: "compute_ms", &json)
    json.key("weight_bytes")
    json.integer(segment.weights.bytes)
    json.key("activation_bytes")
    json.integer(segment.activations.bytes)
    json.key("reason")
    json.string(reason(segment))
    json.close("}")
  }

  /// Leaves out what nothing is known of.
  private func write(_ time: Duration?, as key: StaticString, _ json: inout JSONWriter) {
    guard let time else { return }
    json.key(key)
    json.milliseconds(time)
  }

  private func name(_ layer: Int) -> String {
    forecast.layers.indices.contains(layer) ? forecast.layers[layer] : String(layer)
  }

  private var reason: String {
    guard let budget = plan.budget else {
      return "There is no memory budget: all samples go through every layer together."
    }
    guard !plan.segments.isEmpty else {
      return "\(samples(plan.samples)) need \(plan.needed), more than the \(budget) for plans; at "
        + "most \(plan.largestBatch) fit together."
    }
    let weights = plan.segments.reduce(into: ByteCount.zero) { $0 += $1.weights }
    if plan.pageIns <= plan.resident { return "All weights are resident: nothing is paged in." }
    if plan.pageIns > weights {
      return "\(plan.pageIns) come in for \(weights) of weights: later chunks read some again."
    }
    return "\(plan.pageIns - plan.resident) of \(weights) of weights come in, each once."
  }

  private func reason(_ segment: Forecast.Segment) -> String {
    switch segment.reason {
    case .unlimited: "There is no memory budget."
    case .fits: "\(samples(plan.samples)) fit together."
    case .wouldNotFit(let bytes):
      "\(samples(plan.samples)) together would need \(bytes), more than there is for plans."
    case .isFaster: "\(samples(plan.samples)) together would fit, but take longer."
    }
  }

  private func samples(_ count: Int) -> String { count == 1 ? "1 sample" : "\(count) samples" }
}

extension PlanAnswer {
  /// The number of samples that a query asks for; 1 when it names none.
  ///
  /// - Throws: 400 for what is no number.
  static func samples(_ query: String?) throws(APIError) -> Int {
    for part in (query ?? "").split(separator: "&") {
      let sides = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard sides[0] == "samples" else { continue }
      guard sides.count == 2, let count = Int(sides[1]), count > 0 else {
        throw .invalid("The query '\(part)' names no number of samples; ask with samples=8.")
      }
      return count
    }
    return 1
  }
}
