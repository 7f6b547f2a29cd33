public import Vocabulary

/// A tensor in host memory: row-major, little-endian, without gaps.
///
/// Copying a tensor copies a reference. Elements of a shared tensor are never changed.
public struct Tensor: Sendable {
  /// The type of the elements.
  public let type: ElementType
  /// The dimensions; empty for a scalar.
  public let shape: [Int]
  /// Where the elements lie; for strings, see `strings`.
  public let storage: TensorStorage
  /// The elements of a `BYTES` tensor; empty for every other type.
  public let strings: [[UInt8]]

  /// Wraps storage that holds at least the shape's elements.
  public init(type: ElementType, shape: [Int], storage: TensorStorage) {
    precondition(storage.byteCount >= shape.elementCount * type.byteSize)
    self.type = type
    self.shape = shape
    self.storage = storage
    self.strings = []
  }

  /// A tensor of strings.
  public init(strings: [[UInt8]], shape: [Int]) {
    precondition(strings.count == shape.elementCount)
    self.type = .string
    self.shape = shape
    self.storage = TensorStorage(byteCount: 0)
    self.strings = strings
  }

  /// The number of elements.
  public var elementCount: Int { shape.elementCount }

  /// The size of the elements in memory.
  public var byteCount: Int { elementCount * type.byteSize }

  /// The same elements under another shape of the same size.
  public func reshaped(_ shape: [Int]) -> Tensor {
    precondition(shape.elementCount == elementCount)
    return type == .string
      ? Tensor(strings: strings, shape: shape)
      : Tensor(type: type, shape: shape, storage: storage)
  }

  /// Reads the elements in place; `Element` must be as wide as the element type.
  public func withElements<Element: BitwiseCopyable, Result>(
    as type: Element.Type, _ body: (UnsafeBufferPointer<Element>) throws -> Result
  ) rethrows -> Result {
    precondition(MemoryLayout<Element>.stride == self.type.byteSize)
    let elements = UnsafeBufferPointer(
      start: storage.base.assumingMemoryBound(to: Element.self), count: elementCount)
    return try withExtendedLifetime(storage) { try body(elements) }
  }

  /// Makes a tensor whose elements the closure fills; they start as zeros.
  public static func make<Element: BitwiseCopyable>(
    _ type: ElementType, _ shape: [Int], as element: Element.Type,
    _ fill: (UnsafeMutableBufferPointer<Element>) throws -> Void
  ) rethrows -> Tensor {
    precondition(MemoryLayout<Element>.stride == type.byteSize)
    let count = shape.elementCount
    let storage = TensorStorage(byteCount: count * type.byteSize)
    try withExtendedLifetime(storage) {
      try fill(
        UnsafeMutableBufferPointer(
          start: storage.base.assumingMemoryBound(to: Element.self), count: count))
    }
    return Tensor(type: type, shape: shape, storage: storage)
  }
}

extension Array where Element == Int {
  /// The product of the dimensions: 1 for a scalar's empty shape.
  public var elementCount: Int { reduce(1, *) }
}
