/// Every metric of a process, in the order of registration.
public final class Registry: Sendable {
  /// An empty registry.
  public init() {}
}
