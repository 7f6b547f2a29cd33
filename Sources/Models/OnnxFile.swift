import Glibc

/// ONNX files, read in place over a mapping: weights are copied only where they lie misaligned.
public enum OnnxFile {
  /// Reads a model, with the files of external data beside it.
  ///
  /// - Parameter path: The `.onnx` file. External data must lie in its folder or below.
  /// - Returns: The graph with model-local functions inlined and nodes in running order.
  /// - Throws: `ModelError`, saying what in which file is malformed or not supported.
  public static func read(path: String) throws(ModelError) -> Graph {
    let file = try MappedFile(path: path)
    let folder = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
    do {
      return try read(file.bytes, owner: file, folder: folder.isEmpty ? "/" : folder)
    } catch {
      throw ModelError("The model file '\(path)' is refused: \(error.description)")
    }
  }

  /// Reads a model from memory; it can have no external data.
  ///
  /// - Throws: `ModelError`, saying what is malformed or not supported.
  public static func read(_ bytes: [UInt8]) throws(ModelError) -> Graph {
    let storage = TensorStorage(byteCount: bytes.count)
    let copy = UnsafeMutableRawBufferPointer(start: storage.base, count: bytes.count)
    bytes.withUnsafeBytes { copy.copyMemory(from: $0) }
    return try read(UnsafeRawBufferPointer(copy), owner: storage, folder: nil)
  }

  /// Reads a TensorProto, as files of test data hold one.
  ///
  /// - Throws: `ModelError`, saying what is malformed or not supported.
  public static func readTensor(path: String) throws(ModelError) -> Tensor {
    let file = try MappedFile(path: path)
    var tensors = TensorReader(owner: file, external: ExternalData(folder: nil))
    do {
      return try tensors.read(WireReader(file.bytes, message: "TensorProto")).tensor
    } catch {
      throw ModelError("The tensor file '\(path)' is refused: \(error.description)")
    }
  }

  private static func read(
    _ bytes: UnsafeRawBufferPointer, owner: AnyObject, folder: String?
  ) throws(ModelError) -> Graph {
    guard !bytes.isEmpty else { throw ModelError("It is empty.") }
    let tensors = TensorReader(owner: owner, external: ExternalData(folder: folder))
    let reader = ModelReader(tensors: tensors)
    var graph = try reader.read(WireReader(bytes, message: "ModelProto"))
    if let file = owner as? MappedFile {
      graph.sources = [file.stamp] + reader.tensors.external.stamps
    }
    return graph
  }
}
