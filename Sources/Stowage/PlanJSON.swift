import Scheduling

/// A plan as JSON, one step a line.
struct PlanJSON {
  let plan: NetworkPlan
  let instance: Instance

  /// The text, without a newline at its end.
  var text: String {
    let groups = plan.groups.map { group in
      let segments = group.segments.map { segment in
        "{\"layers\":[\(segment.layers.lowerBound),\(segment.layers.upperBound - 1)],"
          + "\"chunk\":\(segment.chunk)}"
      }
      return "{\"samples\":\(group.samples),\"segments\":[\(segments.joined(separator: ","))]}"
    }
    return """
      {"makespan_ms":\(plan.makespan),
      "sum_completion_ms":\(plan.sumOfCompletions),
      "lower_bound_ms":\(plan.lowerBound),
      "objective":"\(instance.objective.rawValue)",
      "proven_optimal":\(plan.isProvenOptimal),
      "groups":[\(groups.joined(separator: ","))],
      "layer_names":[\(instance.layers.map { Self.quoted($0.name) }.joined(separator: ","))],
      "layer_batches":\(plan.layerBatches),
      "variants":\(plan.kernels),
      "pinned_mb":\(plan.pinned),
      "steps":[
      \(plan.steps.map(step).joined(separator: ",\n"))]}
      """
  }

  /// A string as JSON has it.
  private static func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"", "\\": result += "\\" + String(scalar)
      case _ where scalar.value < 0x20:
        let digits = String(scalar.value, radix: 16)
        result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }

  private func step(_ step: NetworkPlan.Step) -> String {
    let drops = step.drops.map { "{\"layer\":\($0.layer),\"mb\":\($0.megabytes)}" }
    let transfers = step.transfers.map {
      "{\"layer\":\($0.layer),\"mb\":\($0.megabytes),\"start_ms\":\($0.start),\"end_ms\":\($0.end)}"
    }
    let tile = step.tile.map { "\"tile\":\($0.index),\"tiles\":\($0.count)," } ?? ""
    return "{\"layer\":\(step.layer),\(tile)\"samples\":\(step.samples),"
      + "\"start_ms\":\(step.start),\"end_ms\":\(step.end),"
      + "\"evict\":[\(drops.joined(separator: ","))],"
      + "\"page_in\":[\(transfers.joined(separator: ","))]}"
  }
}
