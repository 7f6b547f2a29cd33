import Glibc
public import Models
import Threads

/// Keeps the constants of one model in the form that its kernels read, layer by layer.
///
/// A backend asks for a place under a name when it makes a kernel, and reads from it while it runs.
/// In between the bytes may leave memory and come back: a store over a file lets a pager decide
/// when.
public protocol WeightStore: AnyObject, Sendable {
  /// The place of a constant, which stays where it is while the store lives and is only read.
  ///
  /// - Parameters:
  ///   - layer: The layer that reads it.
  ///   - name: Which constant in which form; the same name always stands for the same bytes.
  ///   - byteCount: Its size.
  ///   - fill: Writes the bytes; called only when the store does not have them yet.
  /// - Throws: What `fill` throws, or that there is no room.
  func place(
    layer: Int, name: String, byteCount: Int,
    fill: (UnsafeMutableRawPointer) throws(ModelError) -> Void
  ) throws(ModelError) -> UnsafeMutableRawPointer

  /// Bytes of a layer's constants, gaps included.
  func byteCount(layer: Int) -> Int
}

/// Weights that stay in memory.
public final class MemoryWeights: WeightStore {
  private struct Key: Hashable {
    var layer: Int
    var name: String
  }

  private struct State {
    var places: [Key: UnsafeMutableRawPointer] = [:]
    var bytes: [Int: Int] = [:]
  }

  private let state = Lock(State())

  /// A store without weights.
  public init() {}

  deinit { state.withLock { for place in $0.places.values { free(place) } } }

  /// The place of a constant in memory of its own, aligned to a page.
  public func place(
    layer: Int, name: String, byteCount: Int,
    fill: (UnsafeMutableRawPointer) throws(ModelError) -> Void
  ) throws(ModelError) -> UnsafeMutableRawPointer {
    let key = Key(layer: layer, name: name)
    if let place = state.withLock({ $0.places[key] }) { return place }
    var memory: UnsafeMutableRawPointer?
    guard posix_memalign(&memory, 4096, max(byteCount, 64)) == 0, let memory else {
      throw ModelError("\(byteCount) bytes of memory for weights could not be had.")
    }
    do {
      try fill(memory)
    } catch {
      free(memory)
      throw error
    }
    return state.withLock { state in
      if let other = state.places[key] {
        free(memory)
        return other
      }
      state.places[key] = memory
      state.bytes[layer, default: 0] += byteCount
      return memory
    }
  }

  /// Bytes of a layer's constants.
  public func byteCount(layer: Int) -> Int { state.withLock { $0.bytes[layer] ?? 0 } }
}
