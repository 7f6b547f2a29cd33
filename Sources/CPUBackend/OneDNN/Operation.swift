import COneDNN

/// Steps, gaps and padding of a window along the axes behind the channels.
struct WindowGeometry {
  var kernel: [Int] = []
  var strides: [Int]
  /// Distances between neighbours: 1 where the window has no gaps.
  var dilations: [Int]
  var before: [Int]
  var after: [Int]
}

/// What a oneDNN primitive computes, on which layouts.
enum Operation {
  case convolution(
    dnnl_alg_kind_t, source: MemoryDescriptor, weights: MemoryDescriptor, bias: MemoryDescriptor,
    destination: MemoryDescriptor, WindowGeometry)
  case deconvolution(
    source: MemoryDescriptor, weights: MemoryDescriptor, bias: MemoryDescriptor,
    destination: MemoryDescriptor, WindowGeometry)
  case innerProduct(
    source: MemoryDescriptor, weights: MemoryDescriptor, bias: MemoryDescriptor,
    destination: MemoryDescriptor)
  case matrixProduct(MemoryDescriptor, MemoryDescriptor, destination: MemoryDescriptor)
  case pool(
    dnnl_alg_kind_t, source: MemoryDescriptor, destination: MemoryDescriptor, WindowGeometry)
  case localResponse(MemoryDescriptor, size: Int, alpha: Float, beta: Float, bias: Float)
  case softmax(MemoryDescriptor, axis: Int)
  case elementwise(Activation, MemoryDescriptor)
  case binary(
    dnnl_alg_kind_t, MemoryDescriptor, MemoryDescriptor, destination: MemoryDescriptor)
  case copy(MemoryDescriptor, MemoryDescriptor)

  /// Describes the primitive; false where oneDNN has no implementation.
  func describe(
    _ kernel: UnsafeMutablePointer<dnnl_primitive_desc_t?>, _ post: PostOperations
  ) -> Bool {
    // Descriptors are in use until the call returns.
    withExtendedLifetime(self) { withExtras(post) { create(kernel, $0) } } == dnnl_success
  }

  private func create(
    _ kernel: UnsafeMutablePointer<dnnl_primitive_desc_t?>, _ extras: stowage_extras
  ) -> dnnl_status_t {
    let engine = OneDNN.engine
    return switch self {
    case .convolution(let algorithm, let x, let w, let b, let y, let window):
      window.withArrays {
        stowage_convolution(
          kernel, engine, algorithm, x.raw, w.raw, b.raw, y.raw, $0, extras)
      }
    case .deconvolution(let x, let w, let b, let y, let window):
      window.withArrays {
        stowage_deconvolution(kernel, engine, x.raw, w.raw, b.raw, y.raw, $0, extras)
      }
    case .innerProduct(let x, let w, let b, let y):
      stowage_inner_product(kernel, engine, x.raw, w.raw, b.raw, y.raw, extras)
    case .matrixProduct(let x, let w, let y):
      stowage_matrix_product(kernel, engine, x.raw, w.raw, y.raw, extras)
    case .pool(let algorithm, let x, let y, let window):
      window.withArrays { stowage_pool(kernel, engine, algorithm, x.raw, y.raw, $0) }
    case .localResponse(let x, let size, let alpha, let beta, let bias):
      stowage_local_response(kernel, engine, x.raw, Int64(size), alpha, beta, bias)
    case .softmax(let x, let axis): stowage_softmax(kernel, engine, x.raw, Int32(axis))
    case .elementwise(let function, let x):
      stowage_elementwise(kernel, engine, function.raw, x.raw, extras)
    case .binary(let algorithm, let a, let b, let y):
      stowage_binary(kernel, engine, algorithm, a.raw, b.raw, y.raw)
    case .copy(let x, let y): stowage_copy(kernel, engine, x.raw, y.raw)
    }
  }

  private func withExtras(
    _ post: PostOperations, _ body: (stowage_extras) -> dnnl_status_t
  ) -> dnnl_status_t {
    var extras = stowage_extras()
    extras.adds = post.addsToDestination ? 1 : 0
    let functions = post.functions.map(\.raw)
    return functions.withUnsafeBufferPointer { functions in
      extras.functions = functions.baseAddress
      extras.function_count = Int32(functions.count)
      return withQuantization(post.quantization, extras, body)
    }
  }

  private func withQuantization(
    _ quantization: Quantization?, _ extras: stowage_extras,
    _ body: (stowage_extras) -> dnnl_status_t
  ) -> dnnl_status_t {
    guard let quantization else { return body(extras) }
    var extras = extras
    extras.source_zero = quantization.sourceZero
    extras.destination_zero = quantization.destinationZero
    extras.has_groups = quantization.hasGroups ? 1 : 0
    return quantization.scales.withUnsafeBufferPointer { scales in
      extras.scales = scales.baseAddress
      extras.scale_count = Int64(scales.count)
      return body(extras)
    }
  }
}

extension WindowGeometry {
  fileprivate func withArrays(_ body: (stowage_window) -> dnnl_status_t) -> dnnl_status_t {
    let rank = strides.count
    let kernel = kernel.isEmpty ? [Int](repeating: 1, count: rank) : kernel
    let numbers = (kernel + strides + dilations.map { $0 - 1 } + before + after).map(Int64.init)
    return numbers.withUnsafeBufferPointer { numbers in
      guard let start = numbers.baseAddress else { return dnnl_invalid_arguments }
      return body(
        stowage_window(
          kernel: start, strides: start + rank, dilations: start + 2 * rank,
          before: start + 3 * rank, after: start + 4 * rank))
    }
  }
}

extension Activation {
  fileprivate var raw: stowage_function {
    stowage_function(algorithm: algorithm, alpha: alpha, beta: beta)
  }
}
