import ArgumentParser
import FoundationEssentials
import Simulation
import Threads

/// `stowage profile`: a network as data for the simulator and the planner.
struct ProfileCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "profile",
    abstract: "Writes what the layers of an ONNX file take, as Profiles/Networks has it.",
    discussion: """
      Bytes are those of the layers as they are served, times are measured on this machine's CPU: \
      a line through the time of one sample and that of --samples. With --table they are a table, \
      for 1, 2, 4 … samples and for every number of units. With --counted nothing runs, and the \
      simulator takes the times from a device profile.

        stowage profile --model resnet50.onnx > Profiles/Networks/resnet50-measured.json
      """)

  @Option(help: "The ONNX file.")
  var model: String

  @Option(help: "The name of the network; by default that of the file.")
  var name: String?

  @Option(help: "Samples of the larger measured batch.")
  var samples = 8

  @Option(help: "Compute units (cores) to measure with; by default all.")
  var units: Int?

  @Flag(help: "Measure several batches, with every number of units up to --units.")
  var table = false

  @Flag(help: "Count operations instead of measuring times.")
  var counted = false

  func validate() throws {
    guard !(table && counted) else {
      throw ValidationError("--table and --counted exclude each other.")
    }
    guard samples > 0, units ?? 1 > 0 else {
      throw ValidationError("Numbers of samples and units must be positive.")
    }
  }

  func run() throws {
    let survey = try NetworkSurvey(
      path: model, samples: samples, units: units ?? Processors.available)
    let title = name ?? URL(fileURLWithPath: model).deletingPathExtension().lastPathComponent
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    let profile = try survey.profile(
      named: title, times: counted ? .counted : table ? .table : .line)
    print(String(decoding: try encoder.encode(profile), as: UTF8.self))
  }
}
