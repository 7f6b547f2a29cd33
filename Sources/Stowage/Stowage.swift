import ArgumentParser

/// The command line: `stowage serve`, `stowage infer` and the planners.
@main
struct Stowage: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "stowage",
    abstract: "Serves many neural networks from one device whose memory cannot hold them all.",
    subcommands: [InferCommand.self, HealthcheckCommand.self])
}
