import Backend
public import Scheduling
import Vocabulary

/// What would become of a request now.
public struct ModelForecast: Sendable {
  /// The version that would answer.
  public var version: String
  /// The names of its layers, in running order.
  public var layers: [String]
  /// What the policy would do.
  public var forecast: Forecast

  /// What would become of a request now.
  public init(version: String, layers: [String], forecast: Forecast) {
    self.version = version
    self.layers = layers
    self.forecast = forecast
  }
}

extension Engine {
  /// Asks the policy what would become of a batch now; the answer comes exactly once.
  public func forecast(
    _ name: String, version: String?, samples: Int,
    completion: @escaping @Sendable (Result<ModelForecast, InferenceError>) -> Void
  ) {
    do throws(InferenceError) {
      let model = try catalog.served(name, version: version)
      let maximum = model.description.maximumBatch
      guard (1...maximum).contains(samples) else {
        throw InferenceError(
          .invalid,
          "A plan for \(samples) samples was asked for, but model '\(name)' takes 1 to \(maximum) "
            + "in one request.")
      }
      scheduler.ask { policy in
        guard let forecast = policy?.forecast(model.id, samples: samples) else {
          let error = InferenceError(
            .unavailable, "Nothing can be said of model '\(name)' now: it or the server is leaving."
          )
          completion(.failure(error))
          return
        }
        completion(
          .success(
            ModelForecast(
              version: model.description.version, layers: model.sheet.layers.map(\.name),
              forecast: forecast)))
      }
    } catch {
      completion(.failure(error))
    }
  }
}
