import Backend
import Glibc
import Models
import Vocabulary

extension CPUModel {
  /// A constant in the form that a kernel reads, made when it is asked for first.
  ///
  /// - Parameter variant: Tells tensors apart that are made of the same constant.
  func packedWeight(
    _ tensor: Tensor, _ id: ValueID, as form: MemoryDescriptor, layer: Int, variant: String = ""
  ) throws(ModelError) -> WeightPointer {
    var strides = [Int](repeating: 1, count: tensor.shape.count)
    for axis in tensor.shape.indices.dropLast().reversed() {
      strides[axis] = strides[axis + 1] * tensor.shape[axis + 1]
    }
    return try packedWeight(
      tensor, id, shape: tensor.shape, strides: strides, as: form, layer: layer, variant: variant)
  }

  /// As above, for elements that lie with these strides.
  func packedWeight(
    _ tensor: Tensor, _ id: ValueID, shape: [Int], strides: [Int], as form: MemoryDescriptor,
    layer: Int, variant: String = ""
  ) throws(ModelError) -> WeightPointer {
    let place = try weights.place(
      layer: layer, name: "\(id.index) \(strides) \(form.fingerprint)\(variant)",
      byteCount: form.byteCount
    ) { (target) throws(ModelError) in
      guard let from = MemoryDescriptor(shape, tensor.type, strides: strides),
        let primitive = Primitive.copy(from, form)
      else { throw ModelError("A weight of shape \(tensor.shape) cannot be packed.") }
      let scratchpad = UnsafeMutableRawPointer.allocate(
        byteCount: max(primitive.scratch, 64), alignment: 64)
      defer { scratchpad.deallocate() }
      try primitive.run(
        [
          (DNNL.from, from, UnsafeMutableRawPointer(mutating: tensor.storage.source)),
          (DNNL.to, form, target),
        ], scratchpad: scratchpad)
      letGoWhileLoading(tensor)
    }
    return WeightPointer(address: place)
  }

  /// A constant as it is.
  func plainWeight(
    _ tensor: Tensor, _ id: ValueID, layer: Int
  ) throws(ModelError) -> WeightPointer {
    let place = try weights.place(
      layer: layer, name: "\(id.index) plain", byteCount: tensor.byteCount
    ) { target in
      target.copyMemory(from: tensor.storage.source, byteCount: tensor.byteCount)
      letGoWhileLoading(tensor)
    }
    return WeightPointer(address: place)
  }

  /// Keeps the memory that packing takes to that of one constant; once the model is served, others
  /// may be reading.
  func letGoWhileLoading(_ tensor: Tensor) {
    if isLoading { tensor.storage.letGo() }
  }

  /// A bias for each channel; zeros where there is none.
  func biasWeight(
    _ tensor: Tensor?, _ id: ValueID, count: Int, layer: Int
  ) throws(ModelError) -> WeightPointer {
    // Kernels may read whole vectors.
    let bytes = (count * 4 + 63) & ~63
    let name = "\(id.index) \(tensor == nil ? "zeros" : "bias")"
    let place = try weights.place(layer: layer, name: name, byteCount: bytes) { target in
      memset(target, 0, bytes)
      if let tensor { target.copyMemory(from: tensor.storage.source, byteCount: count * 4) }
    }
    return WeightPointer(address: place)
  }
}
