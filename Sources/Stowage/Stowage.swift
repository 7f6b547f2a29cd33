import ArgumentParser
import CLinux
import Glibc

/// The command line: one subcommand a file.
@main
struct Stowage: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "stowage",
    abstract: "Serves many neural networks from one device whose memory cannot hold them all.",
    discussion: """
      Start with a folder of ONNX files and ask for an inference:

        stowage serve --models Models
        curl -d @Examples/digits/7-1.json http://127.0.0.1:8000/v2/models/digits/infer
      """,
    version: version,
    subcommands: [
      ServeCommand.self, PackCommand.self, InferCommand.self, HealthcheckCommand.self,
      PlanCommand.self, SimulateCommand.self, ProfileCommand.self, BenchCommand.self,
    ])

  /// Starts anew with settings for OpenMP where a command computes, before anything takes time.
  static func main() {
    guard stowage_has_instructions() != 0 else {
      // Else the first kernel would end the process with an illegal instruction.
      let sentence =
        "Error: Stowage is built for x86 processors with AVX2, FMA and BMI2 (Intel since 2013, AMD "
        + "since 2015); this one lacks them.\n"
      _ = write(STDERR_FILENO, sentence, sentence.utf8.count)
      Glibc.exit(1)
    }
    if let command = CommandLine.arguments.dropFirst().first, ["serve", "bench"].contains(command) {
      SpinLimit.apply()
    }
    main(nil)
  }

  /// The version that `/v2` and `--version` tell.
  static let version = "0.1.0"
}
