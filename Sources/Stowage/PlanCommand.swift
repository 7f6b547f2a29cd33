import ArgumentParser
import FoundationEssentials
import Scheduling
import Simulation
import Threads
import Vocabulary

/// `stowage plan`: what the planner would do, as a table or as JSON.
struct PlanCommand: ParsableCommand {
  /// How the plan is printed.
  enum Format: String, ExpressibleByArgument, CaseIterable {
    case text, json
  }

  /// How long to look for a better plan.
  enum Effort: String, ExpressibleByArgument, CaseIterable {
    case quick, nest, thorough

    /// The planner's word for it.
    var ofPlanner: Planner.Effort {
      switch self {
      case .quick: .quick
      case .nest: .nest
      case .thorough: .thorough
      }
    }
  }

  static let configuration = CommandConfiguration(
    commandName: "plan",
    abstract: "Plan how samples go through a network that memory cannot hold at once.",
    discussion: """
      Reads an instance (layers with weights, activations and times, a memory, a link) or an ONNX \
      model, and prints which samples go through which layer together, what is paged in and out \
      when, and how far from the proven bound that is. Documentation/Simulating.md describes both.

        stowage plan --instance instance.json --format json
        stowage plan --model resnet50.onnx --memory 64MiB --samples 8
        stowage plan --model resnet50.onnx --memory 64MiB --samples 8 \\
          --profile Profiles/Devices/note-gpu.json
      """)

  @Option(help: "A JSON file with the network, the memory and the link.")
  var instance: String?

  @Option(help: "An ONNX file instead of an instance.")
  var model: String?

  @Option(
    help: "Memory for weights, activations and scratch of --model, such as 512MiB.",
    transform: ModelInstance.bytes)
  var memory: ByteCount?

  @Option(help: "Samples that go through --model.")
  var samples = 8

  @Option(
    help: """
      A device profile that --model is planned for: operations are counted and its rates apply. \
      Without one the layers are measured on this machine's CPU.
      """)
  var profile: String?

  @Option(help: "Gigabytes per second that weights come in with, when layers are measured.")
  var linkRate = 2.0

  @Option(help: "Compute units (cores) to measure with; by default all.")
  var units: Int?

  @Flag(help: "Make the sum of completions small, not the moment when all are through.")
  var sum = false

  @Option(help: "A table for people (text) or the steps for programs (json).")
  var format = Format.text

  @Option(
    help: """
      How long to look: as the server does (quick), for the best loop nest (nest), or for the \
      best plan of all where the instance is tiny (thorough). By default thorough for instances, \
      quick for models.
      """)
  var effort: Effort?

  func validate() throws {
    guard (instance == nil) != (model == nil) else {
      throw ValidationError("Give either --instance or --model.")
    }
    guard model == nil || memory != nil else {
      throw ValidationError("--model needs --memory, such as --memory 512MiB.")
    }
    guard (1...Limits.planSamples).contains(samples) else {
      throw ValidationError("--samples must be between 1 and \(Limits.planSamples).")
    }
    guard linkRate > 0, linkRate.isFinite, units ?? 1 > 0 else {
      throw ValidationError("--link-rate and --units must be positive.")
    }
  }

  func run() throws {
    let (problem, preface) = try problem()
    let plan = try planned(problem)
    switch format {
    case .json: print(PlanJSON(plan: plan, instance: problem).text)
    case .text: (preface + PlanTable(plan: plan, instance: problem).lines).forEach { print($0) }
    }
  }

  /// The instance, and lines that say where it comes from.
  private func problem() throws -> (Instance, [String]) {
    if let instance { return (try InstanceFile.read(instance), []) }
    guard let model, let memory else { throw ValidationError("Give --model and --memory.") }
    let units = self.units ?? Processors.available
    let survey = try NetworkSurvey(path: model, samples: samples, units: units)
    let name = URL(fileURLWithPath: model).deletingPathExtension().lastPathComponent
    let network = try survey.profile(named: name, times: profile == nil ? .line : .counted)
    let device =
      try profile.map(Self.device)
      ?? ModelInstance.thisMachine(units: units, linkRate: linkRate)
    let problem = ModelInstance.make(
      network, on: device, samples: samples, memory: memory, objective: sum ? .sum : .makespan)
    let link = Decimals.text(device.link.gigabytesPerSecond, places: 3)
    return (problem, ["\(name) on \(device.name), link \(link) GB/s. \(network.source ?? "")"])
  }

  private func planned(_ problem: Instance) throws -> NetworkPlan {
    let effort = self.effort ?? (model == nil ? .thorough : .quick)
    do {
      return try Planner.plan(problem, effort: effort.ofPlanner)
    } catch PlanningError.tooLittleMemory(let layer, let name, let needed, _, _)
      where model != nil
    {
      throw ValidationError(
        "--memory is too little: layer \(layer) (\(name)) needs "
          + "\(Int((needed * 1e6).rounded(.up))) bytes for one sample, its output and the scratch "
          + "of --samples.")
    }
  }

  private static func device(_ path: String) throws -> DeviceProfile {
    guard let data = FileManager.default.contents(atPath: path) else {
      throw ValidationError("The file \(path) cannot be read.")
    }
    do {
      return try JSONDecoder().decode(DeviceProfile.self, from: data)
    } catch {
      throw ValidationError("The file \(path) is no device profile; Profiles/Devices holds some.")
    }
  }
}
