import Foundation
import Models
import Vocabulary

/// Runs cases of ONNX's backend test suite and says of each whether the answers are right.
///
/// Usage: `OperatorCheck PATH FOLDER...`, where the path is one of `Way` and every folder holds
/// `model.onnx` and `test_data_set_0`. One line per case: `PASS`, or `FAIL` and a reason.
@main
enum OperatorCheck {
  static func main() {
    let arguments = CommandLine.arguments.dropFirst()
    guard let way = arguments.first.flatMap(Way.init) else {
      say("Usage: OperatorCheck interpreter|reference|cpu FOLDER...")
      exit(2)
    }
    for folder in arguments.dropFirst() {
      // A case that kills the process is the first without a line.
      say("\(verdict(on: folder, way)) \(folder)")
    }
  }

  private static func verdict(on folder: String, _ way: Way) -> String {
    do {
      let graph = try OnnxFile.read(path: folder + "/model.onnx")
      for set in 0... {
        let data = "\(folder)/test_data_set_\(set)"
        guard FileManager.default.fileExists(atPath: data) else { break }
        let answers = try way.run(graph, try tensors(data, "input"))
        if let difference = Comparison.difference(answers, try tensors(data, "output")) {
          return "FAIL [\(difference)]"
        }
      }
      return "PASS"
    } catch {
      return "FAIL [\(error)]"
    }
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
