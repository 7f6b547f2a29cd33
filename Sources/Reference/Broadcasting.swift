import Models

/// Numpy's rule for shapes that differ: from the right, equal or 1.
enum Broadcasting {
  /// The common shape, or nil where two dimensions differ and neither is 1.
  static func shape(_ shapes: [[Int]]) -> [Int]? {
    let rank = shapes.map(\.count).max() ?? 0
    var result = [Int](repeating: 1, count: rank)
    for shape in shapes {
      for (offset, dimension) in shape.reversed().enumerated() {
        let axis = rank - 1 - offset
        if result[axis] == 1 {
          result[axis] = dimension
        } else if dimension != 1, dimension != result[axis] {
          return nil
        }
      }
    }
    return result
  }

  /// For every element of `result` in order, the element of `shape` that it reads.
  static func sources(of shape: [Int], in result: [Int]) -> [Int] {
    if shape == result { return Array(0..<result.elementCount) }
    let own = strides(of: shape)
    let missing = result.count - shape.count
    let steps = result.indices.map { axis in
      axis < missing || shape[axis - missing] == 1 ? 0 : own[axis - missing]
    }
    var sources: [Int] = []
    sources.reserveCapacity(result.elementCount)
    forEachIndex(of: result) { index in
      var source = 0
      for axis in index.indices { source += index[axis] * steps[axis] }
      sources.append(source)
    }
    return sources
  }
}

extension Call {
  /// The broadcast shape of some tensors.
  func broadcast(_ tensors: [Tensor]) throws(ModelError) -> [Int] {
    guard let shape = Broadcasting.shape(tensors.map(\.shape)) else {
      throw error("shapes \(tensors.map(\.shape)) do not fit together.")
    }
    return try sized(shape)
  }
}
