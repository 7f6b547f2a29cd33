/// A loaded version of a model; small and dense, so that arrays can be indexed by it.
public struct ModelID: Hashable, Comparable, Sendable {
  /// The index of the model in registration order.
  public let rawValue: Int32

  /// Wraps an index.
  public init(_ rawValue: Int32) { self.rawValue = rawValue }

  /// The index, ready for subscripting.
  public var index: Int { Int(rawValue) }

  /// Orders by registration.
  public static func < (left: ModelID, right: ModelID) -> Bool { left.rawValue < right.rawValue }
}

/// The owner of a key, a share and limits.
public struct TenantID: Hashable, Comparable, Sendable {
  /// The index of the tenant.
  public let rawValue: Int32

  /// Wraps an index.
  public init(_ rawValue: Int32) { self.rawValue = rawValue }

  /// The index, ready for subscripting.
  public var index: Int { Int(rawValue) }

  /// The tenant of requests that name none.
  public static let shared = TenantID(0)

  /// Orders by index.
  public static func < (left: TenantID, right: TenantID) -> Bool { left.rawValue < right.rawValue }
}

/// One inference call, from its admission to its only answer.
public struct RequestID: Hashable, Comparable, Sendable {
  /// A number that grows with admission.
  public let rawValue: UInt64

  /// Wraps a number.
  public init(_ rawValue: UInt64) { self.rawValue = rawValue }

  /// Orders by admission.
  public static func < (left: RequestID, right: RequestID) -> Bool {
    left.rawValue < right.rawValue
  }
}

/// The samples of one model that travel together.
public struct BatchID: Hashable, Comparable, Sendable {
  /// A number that grows with formation.
  public let rawValue: UInt64

  /// Wraps a number.
  public init(_ rawValue: UInt64) { self.rawValue = rawValue }

  /// Orders by formation.
  public static func < (left: BatchID, right: BatchID) -> Bool { left.rawValue < right.rawValue }
}

/// One piece of work given to an executor.
public struct RunID: Hashable, Comparable, Sendable {
  /// A number that grows with each run.
  public let rawValue: UInt64

  /// Wraps a number.
  public init(_ rawValue: UInt64) { self.rawValue = rawValue }

  /// Orders by start.
  public static func < (left: RunID, right: RunID) -> Bool { left.rawValue < right.rawValue }
}

/// One piece of work given to the pager.
public struct PageInID: Hashable, Comparable, Sendable {
  /// A number that grows with each page-in.
  public let rawValue: UInt64

  /// Wraps a number.
  public init(_ rawValue: UInt64) { self.rawValue = rawValue }

  /// Orders by issue.
  public static func < (left: PageInID, right: PageInID) -> Bool { left.rawValue < right.rawValue }
}
