import Foundation
import Models
import Vocabulary

/// Runs cases of ONNX's backend test suite and says of each whether the answers are right.
///
/// Usage: `OperatorCheck WAY [--of-largest SHARE] FOLDER...`, where the way is one of `Way`, or
/// `hostile` to spoil the nodes of every case in many ways; every folder holds `model.onnx` and
/// `test_data_set_0` and on. One line per case: `PASS`, or `FAIL` and a reason.
@main
enum OperatorCheck {
  static func main() {
    var arguments = CommandLine.arguments.dropFirst()
    let way = arguments.first.flatMap(Way.init)
    guard way != nil || arguments.first == "hostile" else {
      say("Usage: OperatorCheck interpreter|reference|cpu|parts|hostile FOLDER...")
      exit(2)
    }
    arguments.removeFirst()
    var comparison = Comparison()
    if arguments.first == "--of-largest",
      let share = arguments.dropFirst().first.flatMap(Double.init)
    {
      comparison.shareOfLargest = share
      arguments.removeFirst(2)
    }
    for folder in arguments {
      // A case that kills the process is the first without a line.
      say("\(way.map { verdict(on: folder, $0, comparison) } ?? survival(of: folder)) \(folder)")
    }
  }

  private static func verdict(on folder: String, _ way: Way, _ comparison: Comparison) -> String {
    do {
      let graph = try OnnxFile.read(path: folder + "/model.onnx")
      let sets = (0...).lazy.map { "\(folder)/test_data_set_\($0)" }
        .prefix { FileManager.default.fileExists(atPath: $0) }
      let answers = try way.run(graph, sets.map { try tensors($0, "input") })
      for (found, data) in zip(answers, sets) {
        if let difference = comparison.difference(found, try tensors(data, "output")) {
          return "FAIL [\(difference)]"
        }
      }
      return "PASS"
    } catch {
      return "FAIL [\(error)]"
    }
  }

  /// What does not run at all is skipped: `verdict` reports it.
  private static func survival(of folder: String) -> String {
    var hostility = Hostility(seed: 1)
    if let graph = try? OnnxFile.read(path: folder + "/model.onnx"),
      let inputs = try? tensors(folder + "/test_data_set_0", "input")
    {
      try? hostility.attack(graph, inputs, times: 200)
    }
    return "PASS"
  }

  private static func tensors(_ folder: String, _ kind: String) throws -> [Tensor] {
    var tensors: [Tensor] = []
    while true {
      let path = "\(folder)/\(kind)_\(tensors.count).pb"
      guard FileManager.default.fileExists(atPath: path) else { return tensors }
      tensors.append(try OnnxFile.readTensor(path: path))
    }
  }

  private static func say(_ line: String) {
    FileHandle.standardOutput.write(Data((line + "\n").utf8))
  }
}
