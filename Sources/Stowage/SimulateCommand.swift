import ArgumentParser
import FoundationEssentials
import Simulation

/// `stowage simulate WORKLOAD.json`: plays a workload under several policies and compares them.
struct SimulateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "simulate",
    abstract: "Plays a workload under several policies and compares them.",
    discussion: """
      The workload file names a device, its memory, and models with their arrivals; see
      Documentation/Simulating.md. The same file and seed give the same numbers.
      """)

  /// How the comparison is printed.
  enum Format: String, ExpressibleByArgument, CaseIterable {
    case text, json, csv
  }

  @Argument(help: "The workload: a JSON file.")
  var workload: String?

  @Option(
    name: .long, parsing: .upToNextOption,
    help: "The policies to compare; all but the oracle and the ablations when absent.")
  var policies: [String] = []

  @Option(name: .long, help: "text, json or csv.")
  var format: Format = .text

  @Option(name: .long, help: "A seed instead of the file's.")
  var seed: UInt64?

  @Flag(name: .long, help: "Lists the policies and ends.")
  var listPolicies = false

  func run() throws {
    if listPolicies {
      for entry in PolicyCatalog.all {
        print("\(entry.name.padded(to: 26)) \(entry.summary)")
      }
      return
    }
    guard let path = workload else {
      throw ValidationError("Name a workload file, or ask for --list-policies.")
    }
    let file: WorkloadFile = try decode(path)
    let folder = URL(fileURLWithPath: path).deletingLastPathComponent()
    var played = try file.workload(
      device: { try decode(URL(fileURLWithPath: $0, relativeTo: folder).path) },
      network: { try decode(URL(fileURLWithPath: $0, relativeTo: folder).path) },
      trace: { try readTrace(URL(fileURLWithPath: $0, relativeTo: folder).path) })
    played.seed = seed ?? played.seed
    let reports = try chosen(file).map { try Comparison.report(played, under: $0) }
    try show(reports)
    let broken = reports.flatMap(\.violations)
    guard broken.isEmpty else {
      throw WorkloadFile.Mistake("An invariant does not hold: \(broken[0]).")
    }
  }

  private func chosen(_ file: WorkloadFile) throws -> [PolicyCatalog.Entry] {
    let names = policies.isEmpty ? file.policies ?? [] : policies
    guard !names.isEmpty else { return PolicyCatalog.standard }
    return try names.map { name in
      guard let entry = PolicyCatalog.entry(named: name) else {
        throw ValidationError(
          "There is no policy \(name); --list-policies shows those that there are.")
      }
      return entry
    }
  }

  private func decode<Value: Decodable>(_ path: String) throws -> Value {
    guard let data = FileManager.default.contents(atPath: path) else {
      throw ValidationError("The file \(path) cannot be read.")
    }
    do {
      return try JSONDecoder().decode(Value.self, from: data)
    } catch let error as DecodingError {
      throw ValidationError("The file \(path) is not as it should be: \(error.sentence)")
    }
  }

  /// The first column of a CSV file, in seconds; lines that do not begin with a number are passed
  /// over.
  private func readTrace(_ path: String) throws -> [Double] {
    guard let data = FileManager.default.contents(atPath: path) else {
      throw ValidationError("The trace \(path) cannot be read.")
    }
    return String(decoding: data, as: UTF8.self).split(whereSeparator: \.isNewline).compactMap {
      $0.split(separator: ",").first.flatMap { Double($0.filter { !$0.isWhitespace }) }
    }
  }

  private func show(_ reports: [Report]) throws {
    switch format {
    case .json:
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
      print(String(decoding: try encoder.encode(reports), as: UTF8.self))
    case .csv: print(Comparison.csv(reports))
    case .text: print(Comparison.table(reports))
    }
  }
}

extension String {
  fileprivate func padded(to width: Int) -> String {
    self + String(repeating: " ", count: max(width - count, 0))
  }
}

extension DecodingError {
  /// What is wrong, and where.
  fileprivate var sentence: String {
    let context: Context
    switch self {
    case .typeMismatch(_, let found), .valueNotFound(_, let found), .keyNotFound(_, let found),
      .dataCorrupted(let found):
      context = found
    @unknown default: return String(describing: self)
    }
    let place = context.codingPath.map { $0.intValue.map { "[\($0)]" } ?? $0.stringValue }
    return place.isEmpty
      ? context.debugDescription : "\(place.joined(separator: ".")): \(context.debugDescription)"
  }
}
