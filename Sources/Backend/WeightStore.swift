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
  ///   - kernel: Which of the layer's kernels reads it.
  ///   - name: Which constant in which form; the same name always stands for the same bytes.
  ///   - byteCount: Its size.
  ///   - fill: Writes the bytes; called only when the store does not have them yet.
  /// - Throws: What `fill` throws, or that there is no room.
  func place(
    layer: Int, kernel: Int, name: String, byteCount: Int,
    fill: (UnsafeMutableRawPointer) throws(ModelError) -> Void
  ) throws(ModelError) -> UnsafeMutableRawPointer

  /// Bytes of the constants of one of a layer's kernels, gaps included.
  func byteCount(layer: Int, kernel: Int) -> Int
}

extension WeightStore {
  /// The place of a constant of a layer's first kernel.
  public func place(
    layer: Int, name: String, byteCount: Int,
    fill: (UnsafeMutableRawPointer) throws(ModelError) -> Void
  ) throws(ModelError) -> UnsafeMutableRawPointer {
    try place(layer: layer, kernel: 0, name: name, byteCount: byteCount, fill: fill)
  }

  /// Bytes of the constants of a layer's first kernel.
  public func byteCount(layer: Int) -> Int { byteCount(layer: layer, kernel: 0) }
}

/// One of the kernels of a layer: what weights are kept for.
public struct LayerKernel: Hashable, Sendable {
  /// The layer.
  public var layer: Int
  /// Which of its kernels, from 0.
  public var kernel: Int

  /// One of the kernels of a layer.
  public init(layer: Int, kernel: Int = 0) {
    self.layer = layer
    self.kernel = kernel
  }
}

/// Weights that stay in memory.
public final class MemoryWeights: WeightStore {
  private struct Key: Hashable {
    var owner: LayerKernel
    var name: String
  }

  private struct State {
    var places: [Key: UnsafeMutableRawPointer] = [:]
    var bytes: [LayerKernel: Int] = [:]
  }

  private let state = Lock(State())

  /// A store without weights.
  public init() {}

  deinit { state.withLock { for place in $0.places.values { free(place) } } }

  /// The place of a constant in memory of its own, aligned to a page.
  public func place(
    layer: Int, kernel: Int, name: String, byteCount: Int,
    fill: (UnsafeMutableRawPointer) throws(ModelError) -> Void
  ) throws(ModelError) -> UnsafeMutableRawPointer {
    let key = Key(owner: LayerKernel(layer: layer, kernel: kernel), name: name)
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
      state.bytes[key.owner, default: 0] += byteCount
      return memory
    }
  }

  /// Bytes of the constants of one of a layer's kernels.
  public func byteCount(layer: Int, kernel: Int) -> Int {
    state.withLock { $0.bytes[LayerKernel(layer: layer, kernel: kernel)] ?? 0 }
  }
}
