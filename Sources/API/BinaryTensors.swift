import Glibc
import Models
import Vocabulary

/// Tensors as the binary extension lays them out: little-endian, row-major, without gaps; a string
/// is its length in four bytes, then its bytes.
enum BinaryTensors {
  /// Copies one tensor out of the bytes that follow a request's JSON.
  ///
  /// - Throws: 400 when the bytes are not what the type and shape need.
  static func read(
    _ bytes: UnsafeRawBufferPointer, name: String, type: ElementType, shape: [Int], count: Int
  ) throws(APIError) -> Tensor {
    if type == .string {
      return Tensor(strings: try strings(in: bytes, name: name, count: count), shape: shape)
    }
    let (needed, overflow) = count.multipliedReportingOverflow(by: type.byteSize)
    guard !overflow, bytes.count == needed else {
      throw .invalid(
        "Input '\(name)' brings \(bytes.count) bytes, but \(type.rawValue) of shape \(shape) is "
          + (overflow ? "more than any." : "\(needed) bytes."))
    }
    let storage = TensorStorage(byteCount: needed)
    if let base = bytes.baseAddress, needed > 0 { memcpy(storage.base, base, needed) }
    return Tensor(type: type, shape: shape, storage: storage)
  }

  private static func strings(
    in bytes: UnsafeRawBufferPointer, name: String, count: Int
  ) throws(APIError) -> [[UInt8]] {
    // Each string takes four bytes at least: a huge shape reserves nothing.
    guard count <= bytes.count / 4 else {
      throw .invalid(
        "Input '\(name)' needs \(count) strings, but brings only \(bytes.count) bytes.")
    }
    var strings: [[UInt8]] = []
    strings.reserveCapacity(count)
    var offset = 0
    for index in 0..<count {
      guard bytes.count - offset >= 4 else {
        throw .invalid("String \(index) of input '\(name)' has no length: its bytes end before it.")
      }
      let length = Int(
        UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self)))
      offset += 4
      guard bytes.count - offset >= length else {
        throw .invalid(
          "String \(index) of input '\(name)' says it has \(length) bytes, but only "
            + "\(bytes.count - offset) follow.")
      }
      strings.append([UInt8](bytes[offset..<offset + length]))
      offset += length
    }
    guard offset == bytes.count else {
      throw .invalid(
        "Input '\(name)' has \(bytes.count - offset) bytes left over after its \(count) strings.")
    }
    return strings
  }

  /// The bytes that a tensor takes in the binary extension.
  static func byteCount(of tensor: Tensor) -> Int {
    guard tensor.type == .string else { return tensor.byteCount }
    return tensor.strings.reduce(0) { $0 + 4 + $1.count }
  }

  /// Appends a tensor in the binary extension's layout.
  static func append(_ tensor: Tensor, to bytes: inout [UInt8]) {
    guard tensor.type == .string else {
      withExtendedLifetime(tensor.storage) {
        bytes.append(
          contentsOf: UnsafeRawBufferPointer(start: tensor.storage.base, count: tensor.byteCount))
      }
      return
    }
    for string in tensor.strings {
      let length = UInt32(string.count)
      for shift in [0, 8, 16, 24] as [UInt32] {
        bytes.append(UInt8(truncatingIfNeeded: length >> shift))
      }
      bytes.append(contentsOf: string)
    }
  }
}
