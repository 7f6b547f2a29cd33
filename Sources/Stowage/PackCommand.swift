import ArgumentParser
import Engine
import Logging
import Metrics
import Scheduling

/// `stowage pack`: writes packed weights ahead of time.
struct PackCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "pack",
    abstract: "Packs the weights of a folder of models ahead of time.",
    discussion: """
      `stowage serve` packs a model when it loads it first. Done ahead, as while an image is built,
      the first start is as fast as every other one. Give the same --units, --max-batch,
      --precision, --fixed-kernels and --no-matrix-units.

      Example: stowage pack --models Models --cache /var/cache/stowage
      """)

  @OptionGroup var options: EngineOptions

  func run() throws {
    let folder = try ModelFolder(path: options.models)
    let engine = Engine(
      configuration: EngineConfiguration(
        units: options.unitCount, maximumBatch: options.maxBatch,
        packed: try options.packedFolder(), precision: try options.precisionChoice(folder),
        offersAlternatives: !options.fixedKernels),
      backend: options.backend.make(
        units: options.unitCount, noMatrixUnits: options.noMatrixUnits),
      policy: Scheduler(SchedulerOptions(units: options.unitCount)), registry: Registry(),
      logger: Logger(label: "stowage") { StreamLogHandler.standardError(label: $0) })
    engine.load(folder)
    engine.drain(within: .seconds(1))
    let refused = engine.models.count { $0.state != .ready }
    guard refused == 0 else {
      throw ValidationError("\(refused) of \(engine.models.count) models were refused.")
    }
  }
}
