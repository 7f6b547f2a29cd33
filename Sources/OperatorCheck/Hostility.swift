import Models
import Reference
import Vocabulary

/// Nodes and tensors made wrong in many ways: what a file or a request may hold.
///
/// `Reference` may refuse them or answer anything; it must not kill the process.
struct Hostility {
  private var state: UInt64

  init(seed: UInt64) { state = seed &* 2 &+ 1 }

  /// Runs every node of a graph on its own inputs, then often on spoilt ones.
  mutating func attack(_ graph: Graph, _ inputs: [Tensor], times: Int) throws {
    let values = try Interpreter.runKeepingAll(graph, inputs: inputs)
    for node in graph.nodes {
      let operands = node.inputs.map { $0.flatMap { values[$0.index] } }
      for _ in 0..<times {
        var (spoilt, tensors) = (node, operands)
        for _ in 0...below(2) { spoil(&spoilt, &tensors) }
        _ = try? Reference.evaluate(spoilt, tensors)
      }
    }
  }

  /// The next number of Lehmer's generator (1951), below a bound.
  private mutating func below(_ bound: Int) -> Int {
    state = state &* 0xDA94_2042_E4DD_58B5
    return Int(state >> 33) % max(bound, 1)
  }

  private mutating func pick<Element>(_ elements: [Element]) -> Element {
    elements[below(elements.count)]
  }

  private mutating func integer() -> Int {
    pick([
      0, 1, 2, 3, 4, 5, 7, 9, -1, -2, -3, -7, .max, .min, .max - 1, .min + 1, 1 << 31, -1 << 31,
      1 << 33, 1 << 40, 1 << 62,
    ])
  }

  private mutating func spoil(_ node: inout Node, _ tensors: inout [Tensor?]) {
    let names = node.attributes.keys.sorted()
    switch below(8) {
    case 0 where !tensors.isEmpty: tensors[below(tensors.count)] = nil
    case 1 where !tensors.isEmpty: tensors.removeLast()
    case 2, 3, 4:
      guard !tensors.isEmpty else { return }
      let place = below(tensors.count)
      tensors[place] = tensor(like: tensors[place])
    case 5 where !names.isEmpty: node.attributes[pick(names)] = nil
    case 6 where below(4) == 0: node.outputs.append(contentsOf: [nil, nil])
    default:
      guard !names.isEmpty else { return }
      let name = pick(names)
      node.attributes[name] = attribute(like: node.attributes[name])
    }
  }

  /// A tensor of the same type with other elements, or of another shape, or of another type.
  private mutating func tensor(like original: Tensor?) -> Tensor {
    let types = ElementType.allCases
    let type = below(4) == 0 ? pick(types) : original?.type ?? .float32
    var shape = original?.shape ?? []
    switch below(4) {
    case 0: shape = (0..<below(6)).map { _ in below(4) }
    case 1 where !shape.isEmpty: shape[below(shape.count)] = below(5)
    case 2 where !shape.isEmpty: shape.removeLast()
    default: break
    }
    guard type != .string else {
      let words = (0..<shape.elementCount).map { _ in Array("a b".utf8.prefix(below(4))) }
      return Tensor(strings: words, shape: shape)
    }
    let storage = TensorStorage(byteCount: shape.elementCount * type.byteSize)
    for element in 0..<shape.elementCount {
      var bits = UInt64(bitPattern: Int64(integer()))
      if type == .float32, below(2) == 0 {
        bits = UInt64(
          pick([0, 1, -1, 2.5, .nan, .infinity, -.infinity, 1e30] as [Float]).bitPattern)
      }
      if type == .float64 {
        bits = pick([0, 1, -1, 2.5, .nan, .infinity, -.infinity, 1e300] as [Double]).bitPattern
      }
      if type == .bool { bits &= 1 }
      withUnsafeBytes(of: &bits) {
        (storage.base + element * type.byteSize).copyMemory(
          from: $0.baseAddress ?? UnsafeRawPointer(storage.base), byteCount: type.byteSize)
      }
    }
    return Tensor(type: type, shape: shape, storage: storage)
  }

  private mutating func attribute(like original: Attribute?) -> Attribute {
    switch original {
    case .int?: return .int(integer())
    case .float?: return .float(pick([0, -1, 0.5, 1e30, .nan, .infinity]))
    case .string?: return .string(pick(["", "x", "SAME_UPPER", "VALID", "reverse", "wrap"]))
    case .ints(var values)?:
      if below(3) == 0 { values.append(integer()) }
      if below(4) == 0, !values.isEmpty { values.removeLast() }
      if !values.isEmpty { values[below(values.count)] = integer() }
      return .ints(values)
    case .floats(var values)?:
      if !values.isEmpty { values[below(values.count)] = pick([0, -1, .nan, .infinity, 1e30]) }
      return .floats(values)
    case .strings(let values)?: return .strings(Array(values.dropLast(below(2))) + [""])
    case .tensor(let value)?: return .tensor(tensor(like: value))
    default: return .int(integer())
    }
  }
}
