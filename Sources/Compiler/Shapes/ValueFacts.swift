public import Models
public import Vocabulary

/// What shape inference knows of one value.
public struct ValueFacts: Sendable {
  /// The type of the elements, when known.
  public var type: ElementType?
  /// The dimensions, when the rank is known.
  public var shape: [Dimension]?
  /// The elements, when they follow from shapes and constants alone.
  public var known: KnownElements?

  /// What is known of one value.
  public init(type: ElementType? = nil, shape: [Dimension]? = nil, known: KnownElements? = nil) {
    self.type = type
    self.shape = shape
    self.known = known
  }

  /// The shape, when every dimension is fixed.
  public var fixedShape: [Int]? { shape?.fixed }
}

/// Elements that are known before a request comes, such as those of a shape computation.
public enum KnownElements: Sendable {
  /// All of them, as numbers.
  case tensor(Tensor)
  /// Integers of which some are symbols, in row-major order.
  case sizes(shape: [Int], [Dimension])

  /// The elements as sizes, for integers few enough to be a shape computation.
  public var sizes: [Dimension]? {
    switch self {
    case .sizes(_, let elements): return elements
    case .tensor(let tensor):
      return tensor.integers(atMost: Self.maximumCount)?.map(Dimension.fixed)
    }
  }

  /// The dimensions of the value.
  var shape: [Int] {
    switch self {
    case .tensor(let tensor): tensor.shape
    case .sizes(let shape, _): shape
    }
  }

  /// Values of more elements are not followed through shape computations.
  static let maximumCount = 1024
}

extension Array where Element == Dimension {
  /// The sizes, when all of them are fixed.
  public var fixed: [Int]? {
    var sizes: [Int] = []
    sizes.reserveCapacity(count)
    for dimension in self {
      guard case .fixed(let size) = dimension else { return nil }
      sizes.append(size)
    }
    return sizes
  }
}

extension Tensor {
  /// The elements of an integer or Boolean tensor that has no more than so many.
  func integers(atMost limit: Int = .max) -> [Int]? {
    guard elementCount <= limit else { return nil }
    switch type {
    case .int64: return withElements(as: Int64.self) { $0.map(Int.init) }
    case .int32: return withElements(as: Int32.self) { $0.map(Int.init) }
    case .int16: return withElements(as: Int16.self) { $0.map(Int.init) }
    case .int8: return withElements(as: Int8.self) { $0.map(Int.init) }
    case .uint8, .bool: return withElements(as: UInt8.self) { $0.map(Int.init) }
    case .uint16: return withElements(as: UInt16.self) { $0.map(Int.init) }
    case .uint32: return withElements(as: UInt32.self) { $0.map(Int.init) }
    case .uint64: return withElements(as: UInt64.self) { $0.map { Int(clamping: $0) } }
    default: return nil
    }
  }

  /// The elements of an FP32 tensor.
  var floats: [Float]? {
    type == .float32 ? withElements(as: Float.self) { Array($0) } : nil
  }

  /// An FP32 tensor of these elements.
  static func floats(_ elements: [Float], shape: [Int]) -> Tensor {
    make(.float32, shape, as: Float.self) { target in
      for (index, element) in elements.enumerated() { target[index] = element }
    }
  }

  /// An INT64 tensor of these elements; one-dimensional unless told.
  static func int64s(_ elements: [Int], shape: [Int]? = nil) -> Tensor {
    make(.int64, shape ?? [elements.count], as: Int64.self) { target in
      for (index, element) in elements.enumerated() { target[index] = Int64(element) }
    }
  }
}
