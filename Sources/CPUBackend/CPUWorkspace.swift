import Backend
import Compiler
import Glibc
import Models
import Vocabulary

/// The memory of one batch: what crosses layer borders sample by sample, and an arena for the rest.
final class CPUWorkspace: Workspace {
  /// Memory aligned to cache lines.
  private final class Block {
    let base: UnsafeMutableRawPointer
    let byteCount: Int

    init(byteCount: Int) {
      self.byteCount = max(byteCount, 64)
      base = .allocate(byteCount: self.byteCount, alignment: 64)
      memset(base, 0, self.byteCount)
    }

    deinit { base.deallocate() }
  }

  /// What tells arena plans apart.
  private struct ArenaKey: Hashable {
    var plan: ObjectIdentifier
    var layers: Range<Int>
  }

  let samples: Int
  /// The shapes of one sample's inputs.
  let sampleShapes: [[Int]]
  private let model: CPUModel
  private let single: Plan
  private var borders: [ValueID: Block] = [:]
  private var arena = Block(byteCount: 64)
  private var arenaPlans: [ArenaKey: ArenaPlan] = [:]

  init(_ model: CPUModel, _ single: Plan, capacity: Int, sampleShapes: [[Int]]) {
    self.model = model
    self.single = single
    samples = capacity
    self.sampleShapes = sampleShapes
  }

  var byteCount: ByteCount {
    ByteCount(borders.values.reduce(arena.byteCount) { $0 + $1.byteCount })
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
    for buffer in single.buffers.indices
    where single.buffers[buffer].alias == nil && single.lifetimes[buffer].upperBound < next {
      borders[single.buffers[buffer].home] = nil
    }
  }

  // MARK: Running

  /// Runs a plan's layers on as many samples as it is for, the first of which is `first`.
  func run(_ plan: Plan, _ layers: Range<Int>, first: Int) throws(ModelError) {
    let key = ArenaKey(plan: ObjectIdentifier(plan), layers: layers)
    let places = arenaPlans[key] ?? ArenaPlan(plan, layers: layers)
    arenaPlans[key] = places
    guard let begin = layers.first, let end = layers.last else { return }
    let steps = plan.layers[begin].lowerBound..<plan.layers[end].upperBound
    let scratch = plan.steps[steps].map(\.kernel.scratch).max() ?? 0
    let scratchStart = (places.byteCount + 4095) & ~4095
    if arena.byteCount < scratchStart + scratch {
      arena = Block(byteCount: scratchStart + scratch)
    }
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
    let root = plan.buffers[plan.root(buffer)]
    let size = root.isBatched ? root.byteCount * samples : root.byteCount
    let block = borders[root.home] ?? Block(byteCount: size)
    borders[root.home] = block
    return block.base + (root.isBatched ? first * root.byteCount : 0)
  }
}
