import Backend
import Compiler
import Models
import Vocabulary

/// The memory of one batch: what crosses layer borders, sample by sample.
///
/// What lives inside a run is in an arena that lasts as long as the run.
final class CPUWorkspace: Workspace {
  let samples: Int
  /// The shapes of one sample's inputs.
  let sampleShapes: [[Int]]
  private let model: CPUModel
  private let single: Plan
  private var borders: [Plan.Home: MemoryPool.Block] = [:]

  init(_ model: CPUModel, _ single: Plan, capacity: Int, sampleShapes: [[Int]]) {
    self.model = model
    self.single = single
    samples = capacity
    self.sampleShapes = sampleShapes
  }

  var byteCount: ByteCount {
    ByteCount(borders.values.reduce(0) { $0 + $1.byteCount })
  }

  // MARK: Inputs and outputs

  func setInput(_ index: Int, samples: Range<Int>, from elements: UnsafeRawBufferPointer) {
    guard let buffer = single.inputs[index], let source = elements.baseAddress else { return }
    border(single, buffer, first: samples.lowerBound)
      .copyMemory(from: source, byteCount: elements.count)
  }

  func setInput(_ index: Int, to tensor: Tensor) {
    setInput(
      index, samples: 0..<1,
      from: UnsafeRawBufferPointer(start: tensor.storage.base, count: tensor.byteCount))
  }

  func outputShape(_ index: Int) -> [Int] { shape(index, samples) }

  func output(_ index: Int, samples: Range<Int>) -> Tensor {
    let id = model.program.graph.outputs[index]
    let type = single.outputTypes[index]
    if let constant = model.program.graph[id].constant { return constant }
    let shape = shape(index, samples.count)
    let storage = TensorStorage(byteCount: shape.elementCount * type.byteSize)
    if let buffer = single.outputs[index] {
      storage.base.copyMemory(
        from: border(single, buffer, first: samples.lowerBound),
        byteCount: shape.elementCount * type.byteSize)
    }
    return Tensor(type: type, shape: shape, storage: storage)
  }

  private func shape(_ index: Int, _ samples: Int) -> [Int] {
    let id = model.program.graph.outputs[index]
    let shape = single.outputShapes[index]
    guard model.isBatched[id.index], let first = shape.first else { return shape }
    return [first * samples] + shape.dropFirst()
  }

  /// Frees what no layer from this one on reads.
  func releaseValues(before layer: Int) {
    guard single.layers.indices.contains(layer) else { return }
    let next = single.layers[layer].lowerBound
    var needed: Set<Plan.Home> = []
    for buffer in single.buffers.indices
    where single.buffers[buffer].alias == nil && single.lifetimes[buffer].upperBound >= next {
      needed.insert(single.buffers[buffer].home)
    }
    for home in borders.keys where !needed.contains(home) { borders[home] = nil }
  }

  // MARK: Running

  /// Runs a plan's layers on as many samples as it is for, the first of which is `first`.
  func run(_ plan: Plan, _ layers: Range<Int>, first: Int) throws(ModelError) {
    let places = plan.arena(layers)
    guard let begin = layers.first, let end = layers.last else { return }
    let steps = plan.layers[begin].lowerBound..<plan.layers[end].upperBound
    let scratch = plan.steps[steps].map(\.kernel.scratch).max() ?? 0
    let scratchStart = (places.byteCount + 4095) & ~4095
    let arena = model.memory.take(byteCount: scratchStart + scratch, isBrief: true)
    defer { withExtendedLifetime(arena) {} }
    var operands: [UnsafeMutableRawPointer] = []
    for step in plan.steps[steps] {
      operands.removeAll(keepingCapacity: true)
      for operand in step.operands {
        switch operand {
        case .weight(let weight): operands.append(weight.address)
        case .buffer(let buffer):
          let root = plan.root(buffer)
          operands.append(
            places.offsets[root].map { arena.base + $0 } ?? border(plan, buffer, first: first))
        }
      }
      try step.kernel.run(operands, scratchpad: arena.base + scratchStart)
    }
  }

  /// The place of a sample's part of a buffer that outlives the layers being run.
  private func border(_ plan: Plan, _ buffer: Int, first: Int) -> UnsafeMutableRawPointer {
    let index = plan.root(buffer)
    let root = plan.buffers[index]
    let size = root.isBatched ? root.byteCount * samples : root.byteCount
    let block =
      borders[root.home] ?? inherited(plan, index) ?? model.memory.take(byteCount: size)
    borders[root.home] = block
    return block.base + (root.isBatched ? first * root.byteCount : 0)
  }

  /// The memory of a value that a buffer may take over because nobody reads it any more.
  ///
  /// Samples elsewhere on their way keep their parts: each is overwritten only by its own sample.
  private func inherited(_ plan: Plan, _ index: Int) -> MemoryPool.Block? {
    guard let wish = plan.buffers[index].successorOf else { return nil }
    let elder = plan.root(wish)
    guard plan.size(elder) == plan.size(index),
      plan.buffers[elder].isBatched == plan.buffers[index].isBatched,
      plan.lifetimes[elder].upperBound == plan.lifetimes[index].lowerBound
    else { return nil }
    return borders[plan.buffers[elder].home]
  }
}
