import Vocabulary

/// The kernels of all layers of a model in one row, those of a layer beside one another.
///
/// What is kept for each kernel's weights (how much of them is resident, when they ran) stands in
/// flat arrays in this order. With one kernel a layer, kernels are numbered as layers are.
struct KernelTable: Sendable {
  /// The first kernel of each layer, and one entry for the end.
  let first: [Int]
  /// The layer of each kernel.
  let layers: [Int]
  /// Bytes of weights by kernel, whole pages.
  let weights: [Int]
  /// Bytes of scratch per sample by kernel.
  let scratch: [Int]
  /// All kernels in order; slices of it name some without allocating.
  let all: [Int]
  /// The first kernel of each layer: what runs where nothing has been chosen.
  let defaults: [Int]

  init(_ profile: ModelProfile, pageBytes: Int) {
    var (first, layers, weights, scratch) = ([0], [Int](), [Int](), [Int]())
    for (index, layer) in profile.layers.enumerated() {
      for number in 0..<layer.kernelCount {
        let kernel = layer.kernel(number)
        layers.append(index)
        weights.append((kernel.weights.bytes + pageBytes - 1) / pageBytes * pageBytes)
        scratch.append(kernel.scratch.bytes)
      }
      first.append(layers.count)
    }
    (self.first, self.layers, self.weights, self.scratch) = (first, layers, weights, scratch)
    all = Array(layers.indices)
    defaults = Array(first.dropLast())
  }

  /// Whether no layer has a choice.
  var isSingle: Bool { all.count == defaults.count }

  /// The kernels of a layer.
  func kernels(of layer: Int) -> Range<Int> { first[layer]..<first[layer + 1] }

  /// Which of its layer's kernels a kernel is.
  func number(of kernel: Int) -> Int { kernel - first[layers[kernel]] }

  /// Bytes of weights and of scratch for some samples.
  func bytes(_ kernel: Int, samples: Int) -> Int { weights[kernel] + samples * scratch[kernel] }

  /// For each layer the kernel that takes least memory.
  var smallest: [Int] {
    defaults.indices.map { layer in
      kernels(of: layer).min { bytes($0, samples: 1) < bytes($1, samples: 1) } ?? first[layer]
    }
  }
}
