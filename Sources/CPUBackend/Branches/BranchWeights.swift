import Backend
import Models

/// Keeps the constants of a branch among those of the layer that holds it.
final class BranchWeights: WeightStore {
  private let store: any WeightStore
  private let layer: Int
  private let prefix: String

  /// - Parameter prefix: Tells the branch from others of the layer.
  init(_ store: any WeightStore, layer: Int, prefix: String) {
    (self.store, self.layer, self.prefix) = (store, layer, prefix)
  }

  func place(
    layer: Int, kernel: Int, name: String, byteCount: Int,
    fill: (UnsafeMutableRawPointer) throws(ModelError) -> Void
  ) throws(ModelError) -> UnsafeMutableRawPointer {
    try store.place(
      layer: self.layer, kernel: kernel, name: prefix + name, byteCount: byteCount, fill: fill)
  }

  func byteCount(layer: Int, kernel: Int) -> Int {
    store.byteCount(layer: self.layer, kernel: kernel)
  }
}
