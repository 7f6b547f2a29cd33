import CSimdJSON
import Models
import Vocabulary

/// The typed memory into which the JSON reader writes the data of one request's inputs.
struct JSONData {
  /// One input's memory.
  struct Column {
    fileprivate let name: String
    fileprivate let type: ElementType
    fileprivate let count: Int
    /// Elements, or for strings their places in the reader's memory.
    fileprivate let storage: TensorStorage?
    fileprivate var strings: [[UInt8]] = []

    /// The data under its shape.
    func tensor(of shape: [Int]) -> Tensor {
      guard type != .string, let storage else { return Tensor(strings: strings, shape: shape) }
      return Tensor(type: type, shape: shape, storage: storage)
    }
  }

  private var columns: [Column]

  /// Memory for inputs with JSON data; nil stands for an input without.
  init(_ inputs: [(name: String, data: (type: ElementType, count: Int)?)]) {
    columns = inputs.map { name, data in
      guard let (type, count) = data else {
        return Column(name: name, type: .bool, count: 0, storage: nil)
      }
      let size = type == .string ? MemoryLayout<stowage_json_text>.stride : type.byteSize
      return Column(
        name: name, type: type, count: count, storage: TensorStorage(byteCount: count * size))
    }
  }

  /// Has the reader write the data of the request that it read last.
  ///
  /// - Throws: 400 naming the input, the element and the byte.
  consuming func fill(from reader: OpaquePointer) throws(APIError) -> [Column] {
    let targets = columns.map { column in
      stowage_json_target(
        type: column.type.jsonType ?? STOWAGE_JSON_BOOL, elements: column.storage?.base,
        count: column.count)
    }
    var problem = stowage_json_error()
    guard stowage_json_fill(reader, targets, targets.count, &problem) else {
      guard columns.indices.contains(problem.index) else { throw .json(problem) }
      let column = columns[problem.index]
      guard problem.problem != STOWAGE_JSON_COUNT else {
        throw Self.wrongCount(column.name, wanted: column.count, found: problem.element)
      }
      throw .json(problem, input: column.name)
    }
    for index in columns.indices where columns[index].type == .string {
      columns[index].copyStrings()
    }
    return columns
  }

  /// The error for data that does not fill its shape.
  static func wrongCount(_ name: String, wanted: Int, found: Int? = nil) -> APIError {
    let given =
      switch found {
      case .some(let found) where found < wanted: "\(found)"
      case .some: "more"
      case nil: "fewer"
      }
    return .invalid("Input '\(name)' has \(given) elements, but its shape has \(wanted).")
  }
}

extension JSONData.Column {
  /// Copies strings out of the reader's memory before the next request takes it.
  fileprivate mutating func copyStrings() {
    guard let storage else { return }
    let texts = UnsafeBufferPointer(
      start: storage.base.assumingMemoryBound(to: stowage_json_text.self), count: count)
    strings = withExtendedLifetime(storage) {
      texts.map { [UInt8](UnsafeBufferPointer(start: $0.bytes, count: $0.count)) }
    }
  }
}
