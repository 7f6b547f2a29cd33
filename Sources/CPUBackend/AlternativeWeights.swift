import Backend
import Models

/// Keeps the constants of other kernels beside those of the first ones; what layers without a
/// choice read is the same for both.
final class AlternativeWeights: WeightStore {
  private let store: any WeightStore
  private let layers: Set<Int>

  /// - Parameter layers: The layers that have a second kernel.
  init(_ store: any WeightStore, layers: Set<Int>) {
    (self.store, self.layers) = (store, layers)
  }

  func place(
    layer: Int, kernel: Int, name: String, byteCount: Int,
    fill: (UnsafeMutableRawPointer) throws(ModelError) -> Void
  ) throws(ModelError) -> UnsafeMutableRawPointer {
    try store.place(
      layer: layer, kernel: self.kernel(of: layer), name: name, byteCount: byteCount, fill: fill)
  }

  func byteCount(layer: Int, kernel: Int) -> Int {
    store.byteCount(layer: layer, kernel: self.kernel(of: layer))
  }

  private func kernel(of layer: Int) -> Int { layers.contains(layer) ? 1 : 0 }
}
