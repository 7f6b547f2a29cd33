import Models
import Vocabulary

extension Reference {
  /// Operators that put tensors together and take them apart.
  static let joining: [String: Operator] = [
    "Concat": { (call) throws(ModelError) in
      var parts: [Tensor] = []
      for index in call.inputs.indices { parts.append(try call.input(index)) }
      guard let first = parts.first else { throw call.error("there is nothing to join.") }
      let axis = try call.axis(call.int("axis", default: 1), in: first)
      return [try joined(parts, axis: axis, call)]
    },
    "Split": split,
  ]

  /// Tensors of one type side by side along an axis.
  static func joined(_ parts: [Tensor], axis: Int, _ call: Call) throws(ModelError) -> Tensor {
    let first = parts[0]
    var shape = first.shape
    shape[axis] = parts.reduce(0) { $0 + ($1.shape.count > axis ? $1.shape[axis] : 0) }
    for part in parts {
      var same = part.shape
      guard same.count == shape.count, part.type == first.type else {
        throw call.error("shapes \(parts.map(\.shape)) or types cannot be joined.")
      }
      same[axis] = shape[axis]
      guard same == shape else {
        throw call.error("shapes \(parts.map(\.shape)) cannot be joined along axis \(axis).")
      }
    }
    let outer = Array(shape[..<axis]).elementCount
    let inner = Array(shape[(axis + 1)...]).elementCount
    if first.type == .string {
      var strings: [[UInt8]] = []
      for row in 0..<outer {
        for part in parts {
          let length = part.shape[axis] * inner
          strings += part.strings[row * length..<(row + 1) * length]
        }
      }
      return Tensor(strings: strings, shape: shape)
    }
    let width = first.type.byteSize
    let result = Tensor(
      type: first.type, shape: shape,
      storage: TensorStorage(byteCount: shape.elementCount * width))
    var target = result.storage.base
    for row in 0..<outer {
      for part in parts {
        let length = part.shape[axis] * inner * width
        target.copyMemory(from: part.storage.base + row * length, byteCount: length)
        target += length
      }
    }
    return result
  }

  @Sendable private static func split(_ call: Call) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    let axis = try call.axis(call.int("axis", default: 0), in: x)
    let size = x.shape[axis]
    let count = call.int("num_outputs", default: call.node.outputs.count)
    guard count > 0, count <= 1 << 16 else { throw call.error("\(count) parts cannot be made.") }
    let each = (size + count - 1) / max(count, 1)
    let lengths =
      call.integers("split", orInput: 1)
      ?? (0..<count).map { min(each, max(0, size - $0 * each)) }
    guard lengths.reduce(0, +) == size, lengths.allSatisfy({ $0 >= 0 }) else {
      throw call.error("parts \(lengths) do not add up to \(size).")
    }
    let inner = Array(x.shape[(axis + 1)...]).elementCount
    var (start, parts) = (0, [Tensor?]())
    for length in lengths {
      var shape = x.shape
      shape[axis] = length
      let (block, offset) = (length * inner, start * inner)
      parts.append(
        x.gathered(shape) { $0 / block * size * inner + offset + $0 % block })
      start += length
    }
    return parts
  }
}
