import FoundationEssentials
import Scheduling

/// The JSON of `stowage plan --instance`, as Documentation/Scheduling.md describes it.
struct InstanceFile: Decodable {
  /// A layer with its plain kernel and, perhaps, others.
  struct Layer: Decodable {
    var name: String?
    var weights_mb: Double
    var activation_mb: Double
    var scratch_mb: Double?
    var cost_ms: Cost
    var variants: [Variant]?
  }

  /// Another kernel of a layer; what it does not say is as in the plain one.
  struct Variant: Decodable {
    var weights_mb: Double?
    var scratch_mb: Double?
    var cost_ms: Cost?
  }

  /// A straight line, or measured points such as `{"table": [[1, 0.5], [8, 2]]}`.
  struct Cost: Decodable {
    var fixed: Double?
    var per_sample: Double?
    var table: [[Double]]?
  }

  var layers: [Layer]
  var input_mb: Double?
  var samples: Int
  var memory_mb: Double
  var link_mb_per_ms: Double
  var link_latency_ms: Double?
  var prefetch: Bool?
  var objective: String?
  var page_mb: Double?

  /// Reads an instance.
  ///
  /// - Throws: `PlanningError.invalid` with a sentence that names the field.
  static func read(_ path: String) throws -> Instance {
    guard let data = FileManager.default.contents(atPath: path) else {
      throw PlanningError.invalid("The file \(path) cannot be read.")
    }
    do {
      return try JSONDecoder().decode(InstanceFile.self, from: data).instance()
    } catch let error as DecodingError {
      throw PlanningError.invalid("\(path): \(Self.sentence(error))")
    }
  }

  private func instance() throws -> Instance {
    let goal = objective ?? "makespan"
    guard let objective = Instance.Objective(rawValue: goal) else {
      throw PlanningError.invalid("objective is \"\(goal)\"; it must be \"makespan\" or \"sum\".")
    }
    return Instance(
      layers: try layers.enumerated().map { try Self.layer($1, $0) }, input: input_mb ?? 0,
      samples: samples, memory: memory_mb, linkRate: link_mb_per_ms,
      linkLatency: link_latency_ms ?? 0, prefetch: prefetch ?? false, objective: objective,
      page: page_mb)
  }

  private static func layer(_ layer: Layer, _ index: Int) throws -> Instance.Layer {
    let plain = Instance.Kernel(
      weights: layer.weights_mb, scratch: layer.scratch_mb ?? 0,
      time: try time(layer.cost_ms, "cost_ms of layer \(index)"))
    let others = try (layer.variants ?? []).enumerated().map { number, variant in
      let place = "cost_ms of variant \(number) of layer \(index)"
      return Instance.Kernel(
        weights: variant.weights_mb ?? plain.weights, scratch: variant.scratch_mb ?? 0,
        time: try variant.cost_ms.map { try time($0, place) } ?? plain.time)
    }
    return Instance.Layer(
      name: layer.name ?? "", activations: layer.activation_mb, kernels: [plain] + others)
  }

  private static func time(_ cost: Cost, _ place: String) throws -> StepTime {
    guard let table = cost.table else {
      guard cost.fixed != nil || cost.per_sample != nil else {
        throw PlanningError.invalid("\(place) has neither fixed and per_sample nor a table.")
      }
      return .linear(fixed: cost.fixed ?? 0, perSample: cost.per_sample ?? 0)
    }
    var points: [StepTime.Point] = []
    for row in table {
      guard row.count == 2, let samples = Int(exactly: row[0]),
        samples > (points.last?.samples ?? 0)
      else {
        throw PlanningError.invalid(
          "\(place): a table holds pairs of samples and milliseconds, ascending by samples.")
      }
      points.append(.init(samples: samples, milliseconds: row[1]))
    }
    guard !points.isEmpty else { throw PlanningError.invalid("\(place): the table is empty.") }
    return .table(points)
  }

  private static func sentence(_ error: DecodingError) -> String {
    func place(_ path: [any CodingKey]) -> String {
      path.map { key in key.intValue.map { "[\($0)]" } ?? ".\(key.stringValue)" }.joined()
        .trimmingPrefix(".").description
    }
    switch error {
    case .keyNotFound(let key, let context):
      let path = place(context.codingPath + [key])
      return "the field \(path) is missing."
    case .typeMismatch(let type, let context), .valueNotFound(let type, let context):
      return "the field \(place(context.codingPath)) is not a \(type)."
    default:
      return "this is no valid JSON."
    }
  }
}
