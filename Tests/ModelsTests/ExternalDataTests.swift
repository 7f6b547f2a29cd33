import Glibc
import Testing

@testable import Models

@Suite("External data")
struct ExternalDataTests {
  /// Writes a model and a data file of eight floats in a new folder, reads it, removes the folder.
  private func read(
    location: String, offset: String = "0", length: String? = "8", shape: [Int] = [2]
  ) throws -> [Float] {
    var template = Array("/tmp/external-data-XXXXXX".utf8CString)
    let folder = try #require(mkdtemp(&template).map { String(cString: $0) })
    let paths = ["model.onnx", "weights.bin", "link.bin"].map { folder + "/" + $0 }
    defer {
      for path in paths { unlink(path) }
      rmdir(folder)
    }
    let floats: [Float] = [0, 1, 2, 3, 4, 5, 6, 7]
    write(floats.withUnsafeBytes { Array($0) }, to: paths[1])
    symlink("/etc/hostname", paths[2])
    let model = OnnxWriter.tensorModel(type: 1, shape) { tensor in
      let entries =
        [("location", location), ("offset", offset)] + (length.map { [("length", $0)] } ?? [])
      for (key, value) in entries {
        tensor.message(13) { entry in
          entry.text(1, key)
          entry.text(2, value)
        }
      }
      tensor.int(14, 1)
    }
    write(model, to: paths[0])
    let graph = try OnnxFile.read(path: paths[0])
    let tensor = try #require(graph[graph.outputs[0]].constant)
    return tensor.withElements(as: Float.self) { Array($0) }
  }

  private func write(_ bytes: [UInt8], to path: String) {
    guard let file = fopen(path, "w") else { return }
    fwrite(bytes, 1, bytes.count, file)
    fclose(file)
  }

  @Test("Elements are read at their offset, aligned or not")
  func offsets() throws {
    #expect(try read(location: "weights.bin", offset: "8") == [2, 3])
    #expect(try read(location: "./weights.bin", offset: "24", length: nil) == [6, 7])
    #expect(try read(location: "weights.bin", offset: "2").count == 2)
  }

  @Test(
    "Places outside the file or the folder are refused",
    arguments: [
      ("weights.bin", "28", "8"), ("weights.bin", "-1", "8"), ("weights.bin", "0", "12"),
      ("weights.bin", "9223372036854775807", "8"), ("weights.bin", "x", "8"),
      ("../weights.bin", "0", "8"), ("/etc/hostname", "0", "8"), ("a/../weights.bin", "0", "8"),
      ("link.bin", "0", "8"), ("missing.bin", "0", "8"), ("", "0", "8"), (".", "0", "8"),
    ])
  func refused(location: String, offset: String, length: String) {
    #expect(throws: ModelError.self) {
      try read(location: location, offset: offset, length: length)
    }
  }

  @Test("A model from memory has no external data")
  func memory() {
    let model = OnnxWriter.tensorModel(type: 1, [1]) { $0.int(14, 1) }
    #expect(throws: ModelError.self) { try OnnxFile.read(model) }
  }
}
