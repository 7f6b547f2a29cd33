import Backend
import Compiler
import Models
import Vocabulary

/// The memory of one batch: what crosses layer borders, sample by sample.
///
/// What lives inside a run is in an arena that lasts as long as the run.
final class CPUWorkspace: Workspace {
  private(set) var samples: Int
  /// The shapes of one sample's inputs.
  let sampleShapes: [[Int]]
  private let model: CPUModel
  private let single: Plan
  private var borders: [Plan.Home: Border] = [:]
  /// The first step that writes a value in one of its forms and the last that reads it.
  private let lives: [Plan.Home: ClosedRange<Int>]
  /// The first layer that each sample still has before it.
  private var progress: [Int]

  /// The memory of a value, for the samples that have one.
  private struct Border {
    /// Bytes from one sample to the next; 0 where samples share everything.
    var stride: Int
    var pieces: [Piece] = []
  }

  /// Memory of a value for consecutive samples: those that went through a layer together.
  private struct Piece {
    var samples: Range<Int>
    var block: MemoryPool.Block
  }

  init(_ model: CPUModel, _ single: Plan, capacity: Int, sampleShapes: [[Int]]) {
    self.model = model
    self.single = single
    samples = capacity
    self.sampleShapes = sampleShapes
    progress = Array(repeating: 0, count: capacity)
    var lives: [Plan.Home: ClosedRange<Int>] = [:]
    for buffer in single.buffers.indices where single.buffers[buffer].alias == nil {
      let (home, life) = (single.buffers[buffer].home, single.lifetimes[buffer])
      let known = lives[home] ?? life
      lives[home] =
        min(known.lowerBound, life.lowerBound)...max(known.upperBound, life.upperBound)
    }
    self.lives = lives
  }

  var byteCount: ByteCount {
    let pieces = borders.values.flatMap(\.pieces)
    return ByteCount(pieces.reduce(0) { $0 + $1.block.byteCount })
  }

  func grow(to samples: Int) {
    guard samples > self.samples else { return }
    progress += Array(repeating: 0, count: samples - self.samples)
    self.samples = samples
  }

  // MARK: Inputs and outputs

  func setInput(_ index: Int, samples: Range<Int>, from elements: UnsafeRawBufferPointer) {
    guard let buffer = single.inputs[index], let source = elements.baseAddress else { return }
    // Room for all samples, so that those of several requests lie together.
    place(single, buffer, samples, within: 0..<self.samples)
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
        from: place(single, buffer, samples, within: samples),
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

  func releaseValues(before layer: Int) { releaseValues(before: layer, samples: 0..<samples) }

  func releaseValues(before layer: Int, samples: Range<Int>) {
    for sample in samples.clamped(to: progress.indices) {
      progress[sample] = max(progress[sample], layer)
    }
    for (home, border) in borders {
      let last = lives[home]?.upperBound ?? -1
      let kept = border.pieces.filter { piece in
        let readers = border.stride > 0 ? piece.samples : progress.indices
        return progress[readers.clamped(to: progress.indices)].contains { layer in
          single.layers.indices.contains(layer) ? single.layers[layer].lowerBound <= last : true
        }
      }
      borders[home]?.pieces = kept
    }
  }

  /// Lets go of what some layers made for some samples that all went through them, and what only
  /// those up to `end` read.
  func releaseInner(_ layers: Range<Int>, before end: Int, samples: Range<Int>) {
    let first = single.layers[layers.lowerBound].lowerBound
    let done = single.layers[end - 1].upperBound
    for (home, border) in borders {
      guard let life = lives[home], life.lowerBound >= first, life.upperBound < done else {
        continue
      }
      borders[home]?.pieces = border.pieces.filter { !samples.contains($0.samples) }
    }
  }

  // MARK: Running

  /// Runs a plan's layers on as many samples as it is for, the first of which is `first`.
  ///
  /// - Parameter all: The samples that go through these layers together, in this call and others.
  func run(
    _ plan: Plan, _ layers: Range<Int>, first: Int, of all: Range<Int>
  ) throws(ModelError) {
    let places = plan.arena(layers)
    guard let begin = layers.first, let end = layers.last else { return }
    let steps = plan.layers[begin].lowerBound..<plan.layers[end].upperBound
    let arena = model.memory.take(byteCount: places.byteCount)
    defer { withExtendedLifetime(arena) {} }
    var operands: [UnsafeMutableRawPointer] = []
    for index in steps {
      let step = plan.steps[index]
      operands.removeAll(keepingCapacity: true)
      for operand in step.operands {
        switch operand {
        case .weight(let weight): operands.append(weight.address)
        case .buffer(let buffer):
          let root = plan.root(buffer)
          operands.append(
            places.offset(root).map { arena.base + $0 }
              ?? place(plan, buffer, first..<first + plan.samples, within: all))
        }
      }
      try step.kernel.run(operands, scratchpad: arena.base + places.scratch(index))
    }
  }

  /// The place of some samples' part of a buffer that outlives the layers being run.
  ///
  /// - Parameter all: The samples to make memory for where there is none.
  private func place(
    _ plan: Plan, _ buffer: Int, _ samples: Range<Int>, within all: Range<Int>
  ) -> UnsafeMutableRawPointer {
    let index = plan.root(buffer)
    let root = plan.buffers[index]
    let stride = root.isBatched ? root.byteCount : 0
    let wanted = root.isBatched ? samples : 0..<1
    if let piece = piece(root.home, wanted) {
      return piece.block.base + (wanted.lowerBound - piece.samples.lowerBound) * stride
    }
    let piece =
      inherited(plan, index, wanted)
      ?? gathered(root.home, root.isBatched ? all : wanted, byteCount: root.byteCount, stride)
    borders[root.home, default: Border(stride: stride)].pieces.append(piece)
    borders[root.home]?.stride = stride
    return piece.block.base + (wanted.lowerBound - piece.samples.lowerBound) * stride
  }

  private func piece(_ home: Plan.Home, _ samples: Range<Int>) -> Piece? {
    borders[home]?.pieces.first {
      $0.samples.lowerBound <= samples.lowerBound && $0.samples.upperBound >= samples.upperBound
    }
  }

  /// Memory for some samples; with what pieces of them hold already, which it replaces.
  private func gathered(
    _ home: Plan.Home, _ samples: Range<Int>, byteCount: Int, _ stride: Int
  ) -> Piece {
    var (parts, range) = ([Piece](), samples)
    if let border = borders[home] {
      parts = border.pieces.filter { $0.samples.overlaps(samples) }
      range = parts.reduce(samples) {
        min($0.lowerBound, $1.samples.lowerBound)..<max($0.upperBound, $1.samples.upperBound)
      }
      borders[home]?.pieces.removeAll { $0.samples.overlaps(samples) }
    }
    let block = model.memory.take(byteCount: stride > 0 ? stride * range.count : byteCount)
    for part in parts {
      (block.base + (part.samples.lowerBound - range.lowerBound) * stride)
        .copyMemory(from: part.block.base, byteCount: part.samples.count * stride)
    }
    return Piece(samples: range, block: block)
  }

  /// The memory of a value that a buffer may take over because nobody reads it any more.
  ///
  /// Samples elsewhere on their way keep their parts: each is overwritten only by its own sample.
  private func inherited(_ plan: Plan, _ index: Int, _ samples: Range<Int>) -> Piece? {
    guard let wish = plan.buffers[index].successorOf else { return nil }
    let (elder, home) = (plan.root(wish), plan.buffers[index].home)
    guard plan.size(elder) == plan.size(index),
      plan.buffers[elder].isBatched == plan.buffers[index].isBatched,
      plan.lifetimes[elder].upperBound == plan.lifetimes[index].lowerBound,
      let piece = piece(plan.buffers[elder].home, samples),
      borders[home]?.pieces.contains(where: { $0.samples.overlaps(piece.samples) }) != true
    else { return nil }
    return piece
  }
}
