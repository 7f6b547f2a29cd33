import Backend
import Models
import Vocabulary

/// A model's sheet, kept beside its packed weights: with it a start reads neither the model's file
/// nor makes a kernel.
///
/// The key, the sheet, and a hash of both.
enum SheetFile {
  /// What follows the name of the packed weights.
  static let suffix = ".sheet"

  /// The sheet, if it was kept under this key and no bit of it is wrong.
  static func read(_ path: String, key: String) -> ModelSheet? {
    guard let bytes = SmallFile.read(path, below: Limits.sheetBytes) else { return nil }
    var trailer = ByteReader(bytes: Array(bytes.suffix(8)))
    let body = Array(bytes.dropLast(8))
    guard trailer.word() == body.withUnsafeBytes(XXH64.hash) else { return nil }
    var reader = ByteReader(bytes: body)
    guard reader.text() == key else { return nil }
    return ModelSheet(from: &reader)
  }

  /// Keeps a sheet; that nobody finds it when it fails costs only time.
  static func write(_ sheet: ModelSheet, _ path: String, key: String) {
    var writer = ByteWriter()
    writer.put(key)
    sheet.write(to: &writer)
    writer.put(Int(truncatingIfNeeded: writer.bytes.withUnsafeBytes(XXH64.hash)))
    SmallFile.replace(path, with: writer.bytes)
  }
}

extension ModelSheet {
  func write(to writer: inout ByteWriter) {
    for tensors in [inputs, outputs] {
      writer.put(tensors.count)
      for tensor in tensors { tensor.write(to: &writer) }
    }
    writer.put(batchSymbol == nil ? 0 : 1)
    writer.put(batchSymbol ?? "")
    writer.put(hasFreeSizes ? 1 : 0)
    writer.put(layers.count)
    for layer in layers {
      writer.put(layer.name)
      for bytes in [layer.weights, layer.activations, layer.scratch] { writer.put(bytes.bytes) }
      writer.put(layer.alternatives.count)
      for kernel in layer.alternatives {
        for bytes in [kernel.weights, kernel.scratch] { writer.put(bytes.bytes) }
      }
    }
  }

  init?(from reader: inout ByteReader) {
    guard let inputs = reader.list(of: Tensor.init(from:)),
      let outputs = reader.list(of: Tensor.init(from:)),
      let isIndependent = reader.number(), let symbol = reader.text(),
      let hasFreeSizes = reader.number(),
      let layers = reader.list(of: LayerFootprint.init(from:))
    else { return nil }
    self.inputs = inputs
    self.outputs = outputs
    batchSymbol = isIndependent == 1 ? symbol : nil
    self.hasFreeSizes = hasFreeSizes == 1
    self.layers = layers
  }
}

extension ByteReader {
  /// A number of elements and then these, each read by a closure.
  fileprivate mutating func list<Element>(
    of element: (inout ByteReader) -> Element?
  ) -> [Element]? {
    guard let count = number(), count <= bytes.count else { return nil }
    var found: [Element] = []
    for _ in 0..<count {
      guard let next = element(&self) else { return nil }
      found.append(next)
    }
    return found
  }
}

extension ModelSheet.Tensor {
  fileprivate func write(to writer: inout ByteWriter) {
    writer.put(name)
    writer.put(type.rawValue)
    writer.put(shape.map { $0.count + 1 } ?? 0)
    for dimension in shape ?? [] {
      switch dimension {
      case .fixed(let size):
        writer.put(size)
        writer.put("")
      case .symbol(let name):
        writer.put(0)
        writer.put(name)
      }
    }
  }

  fileprivate init?(from reader: inout ByteReader) {
    guard let name = reader.text(), let type = reader.text().flatMap(ElementType.init),
      let rank = reader.number(), rank <= reader.bytes.count
    else { return nil }
    var shape: [Dimension] = []
    for _ in 1..<max(rank, 1) {
      guard let size = reader.number(), let symbol = reader.text() else { return nil }
      shape.append(symbol.isEmpty ? .fixed(size) : .symbol(symbol))
    }
    self.init(name: name, type: type, shape: rank == 0 ? nil : shape)
  }
}

extension LayerFootprint {
  fileprivate init?(from reader: inout ByteReader) {
    guard let name = reader.text(), let weights = reader.number(),
      let activations = reader.number(), let scratch = reader.number(),
      let alternatives = reader.list(of: KernelFootprint.init(from:))
    else { return nil }
    self.init(
      name: name, weights: ByteCount(weights), activations: ByteCount(activations),
      scratch: ByteCount(scratch), alternatives: alternatives)
  }
}

extension KernelFootprint {
  fileprivate init?(from reader: inout ByteReader) {
    guard let weights = reader.number(), let scratch = reader.number() else { return nil }
    self.init(weights: ByteCount(weights), scratch: ByteCount(scratch))
  }
}
