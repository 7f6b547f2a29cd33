public import Compiler
public import Models
public import Vocabulary

/// A workspace that keeps a tensor for every value of every sample.
///
/// For backends that learn the shape of a value only when it has been computed.
public final class TensorWorkspace: Workspace {
  private let graph: Graph
  /// Samples are told apart; if not, the one "sample" is the whole request.
  private let isBatched: Bool
  private let inputShapes: [[Int]]
  private let lifetimes: ValueLifetimes
  /// Indexed by sample, then by value.
  private var values: [[Tensor?]]

  /// Memory for so many samples, which holds nothing but the constants at first.
  public init(
    _ program: Program, _ lifetimes: ValueLifetimes, samples: Int, inputShapes: [[Int]]
  ) {
    graph = program.graph
    isBatched = if case .independent = program.batching { true } else { false }
    self.lifetimes = lifetimes
    self.inputShapes = inputShapes
    values = Array(repeating: program.graph.values.map(\.constant), count: samples)
  }

  /// The tensor of a value in one sample; nil before it is computed and after it was let go.
  public subscript(id: ValueID, sample: Int) -> Tensor? {
    get { values[sample][id.index] }
    set { values[sample][id.index] = newValue }
  }

  /// The samples it was made for; 1 when samples are not told apart.
  public var samples: Int { values.count }

  /// The bytes of all tensors, constants included.
  public var byteCount: ByteCount {
    values.joined().reduce(into: .zero) { $0 += ByteCount($1?.byteCount ?? 0) }
  }

  /// Makes room for more samples behind those it holds.
  public func grow(to samples: Int) {
    while values.count < samples { values.append(graph.values.map(\.constant)) }
  }

  /// Copies the elements of an input for some samples.
  public func setInput(_ index: Int, samples: Range<Int>, from elements: UnsafeRawBufferPointer) {
    let id = graph.inputs[index]
    let shape = isBatched ? [1] + inputShapes[index].dropFirst() : inputShapes[index]
    let type = graph[id].type ?? .float32
    let size = shape.elementCount * type.byteSize
    for (place, sample) in samples.enumerated() {
      let storage = TensorStorage(byteCount: size)
      storage.base.copyMemory(
        from: UnsafeRawBufferPointer(rebasing: elements[place * size..<(place + 1) * size])
          .baseAddress ?? UnsafeRawPointer(storage.base), byteCount: size)
      values[sample][id.index] = Tensor(type: type, shape: shape, storage: storage)
    }
  }

  /// Sets an input for all samples.
  public func setInput(_ index: Int, to tensor: Tensor) {
    setInput(index, samples: values.indices, to: tensor)
  }

  /// Sets an input for some samples, strings included.
  public func setInput(_ index: Int, samples: Range<Int>, to tensor: Tensor) {
    guard isBatched else {
      values[0][graph.inputs[index].index] = tensor
      return
    }
    let each = tensor.elementCount / max(samples.count, 1)
    let shape = [1] + tensor.shape.dropFirst()
    for (place, sample) in samples.enumerated() {
      let elements = place * each..<(place + 1) * each
      values[sample][graph.inputs[index].index] =
        tensor.type == .string
        ? Tensor(strings: Array(tensor.strings[elements]), shape: shape)
        : tensor.copy(of: elements, shape: shape)
    }
  }

  /// The shape of an output with all samples, once it is computed.
  public func outputShape(_ index: Int) -> [Int] {
    let shape = values[0][graph.outputs[index].index]?.shape ?? []
    return isBatched && !shape.isEmpty ? [samples] + shape.dropFirst() : shape
  }

  /// An output of some samples, one after another along the first axis.
  public func output(_ index: Int, samples: Range<Int>) -> Tensor {
    let parts = samples.compactMap { values[$0][graph.outputs[index].index] }
    guard let first = parts.first else {
      return Tensor(type: .float32, shape: [0], storage: TensorStorage(byteCount: 0))
    }
    guard isBatched, parts.count > 1, !first.shape.isEmpty else { return first }
    let shape = [first.shape[0] * parts.count] + first.shape.dropFirst()
    if first.type == .string { return Tensor(strings: parts.flatMap(\.strings), shape: shape) }
    let storage = TensorStorage(byteCount: shape.elementCount * first.type.byteSize)
    for (place, part) in parts.enumerated() {
      (storage.base + place * first.byteCount)
        .copyMemory(from: part.storage.base, byteCount: first.byteCount)
    }
    return Tensor(type: first.type, shape: shape, storage: storage)
  }

  /// Lets go of what no layer from this one on reads.
  public func releaseValues(before layer: Int) {
    for id in lifetimes.dead(before: layer) {
      for sample in values.indices { values[sample][id.index] = nil }
    }
  }
}

/// The last layer that reads each value of a program.
public struct ValueLifetimes: Sendable {
  /// The values that are read last by each layer; outputs and constants are never let go.
  private let last: [[ValueID]]

  /// Finds the last reader of each value.
  public init(_ program: Program) {
    var reader: [ValueID: Int] = [:]
    for (index, layer) in program.layers.enumerated() {
      for node in program.graph.nodes[layer.nodes] {
        for case let id? in node.inputs + node.outputs { reader[id] = index }
      }
    }
    for id in program.graph.outputs { reader[id] = nil }
    var last = [[ValueID]](repeating: [], count: program.layers.count)
    for (id, index) in reader where program.graph[id].constant == nil { last[index].append(id) }
    self.last = last.map { $0.sorted() }
  }

  /// The values that nobody reads from a layer on.
  func dead(before layer: Int) -> some Sequence<ValueID> {
    last.prefix(max(layer, 0)).joined()
  }
}

extension Tensor {
  /// Some of the elements in memory of their own.
  fileprivate func copy(of elements: Range<Int>, shape: [Int]) -> Tensor {
    let target = TensorStorage(byteCount: elements.count * type.byteSize)
    withExtendedLifetime(storage) {
      target.base.copyMemory(
        from: storage.base + elements.lowerBound * type.byteSize,
        byteCount: elements.count * type.byteSize)
    }
    return Tensor(type: type, shape: shape, storage: target)
  }
}
