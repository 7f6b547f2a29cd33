import ArgumentParser
import Scheduling

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
      Reads an instance (layers with weights, activations and times, a memory, a link) and prints \
      which samples go through which layer together, what is paged in and out when, and how far \
      from the proven bound that is. Documentation/Scheduling.md describes the file.
      """)

  @Option(help: "A JSON file with the network, the memory and the link.")
  var instance: String

  @Option(help: "A table for people (text) or the steps for programs (json).")
  var format = Format.text

  @Option(
    help: """
      How long to look: as the server does (quick), for the best loop nest (nest), or for the \
      best plan of all where the instance is tiny (thorough).
      """)
  var effort = Effort.thorough

  func run() throws {
    let problem = try InstanceFile.read(instance)
    let plan = try Planner.plan(problem, effort: effort.ofPlanner)
    switch format {
    case .json: print(PlanJSON(plan: plan, instance: problem).text)
    case .text: PlanTable(plan: plan, instance: problem).lines.forEach { print($0) }
    }
  }
}
