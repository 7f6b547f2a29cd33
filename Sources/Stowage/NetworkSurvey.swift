import ArgumentParser
import Backend
import CPUBackend
import Compiler
import Models
import Simulation
import Threads
import Vocabulary

/// What the layers of an ONNX file take: bytes from the backend that would serve it, times measured
/// on this machine or operations counted from shapes.
struct NetworkSurvey {
  /// Passes over all layers, of which the median counts: what is foretold is the machine as it
  /// mostly is.
  private static let passes = 5

  /// How the times of layers are found.
  enum Times {
    /// A line through the times of one sample and of all, with all units.
    case line
    /// The times of several batches, with every number of units.
    case table
    /// Not at all: a device profile says how long counted operations take.
    case counted
  }

  private let program: Program
  private let loaded: any LoadedModel
  private let units: Int
  private let samples: Int

  /// Compiles a file and makes it ready on the CPU.
  ///
  /// - Throws: `ModelError` when the model cannot be served, `ValidationError` when it cannot be
  ///   planned for so many samples.
  init(path: String, samples: Int, units: Int) throws {
    // Cut into tiles as for serving.
    program = try Compiler.compile(
      OnnxFile.read(path: path), options: CompileOptions(tileBytes: Limits.tileBytes))
    if samples > 1, case .whole(let reason) = program.batching {
      throw ValidationError(
        "Samples of this model cannot travel together (\(reason)); ask for --samples 1.")
    }
    guard program.freeSymbols.isEmpty else {
      throw ValidationError(
        "Requests decide sizes of this model (\(program.freeSymbols.joined(separator: ", "))); "
          + "fix them in the file to plan it.")
    }
    loaded = try CPUBackend(computeUnits: units).load(
      program,
      options: LoadOptions(
        maximumBatch: samples, units: Array(1...units), offersAlternatives: true))
    (self.units, self.samples) = (units, samples)
  }

  /// The network as the planner and the simulator read it.
  ///
  /// - Parameter times: How the times of its layers are found.
  func profile(named name: String, times: Times) throws -> NetworkProfile {
    // By kernel, then by layer; those without a second kernel run their first one again.
    let kernels = 0..<(loaded.layers.map(\.kernelCount).max() ?? 1)
    let costs = times == .line ? try kernels.map(measuredCosts) : []
    let tables = times == .table ? try kernels.map(measuredTables) : []
    let bytes = program.graph.inputs.reduce(0) { $0 + elements($1, samples: 1) * size($1) }
    let layers = loaded.layers.enumerated().map { index, footprint in
      var layer = NetworkProfile.Layer(
        name: footprint.name, weightsMegabytes: Self.megabytes(footprint.weights.bytes),
        activationMegabytes: Self.megabytes(footprint.activations.bytes))
      layer.scratchMegabytes = Self.megabytes(footprint.scratch.bytes)
      layer.gigaflop = LayerWork.operations(program.layers[index], program.graph) / 1e9
      layer.blocks = LayerWork.blocks(program.layers[index], program.graph)
      if times == .line { layer.cost = costs[0][index] }
      if times == .table { layer.table = tables[0][index] }
      let others = footprint.alternatives.enumerated().map { place, kernel in
        var variant = NetworkProfile.Variant()
        variant.weightsMegabytes = Self.megabytes(kernel.weights.bytes)
        variant.scratchMegabytes = Self.megabytes(kernel.scratch.bytes)
        if times == .line { variant.cost = costs[place + 1][index] }
        if times == .table { variant.table = tables[place + 1][index] }
        return variant
      }
      // Operations are counted for a layer, not for a kernel: nothing would tell them apart.
      if !others.isEmpty, times != .counted { layer.variants = others }
      return layer
    }
    let source =
      switch times {
      case .line:
        "Layer times measured on this machine's CPU with \(units) units and batches of 1 and "
          + "\(samples), the median of \(Self.passes) runs each, scaled to runs of the whole."
      case .table:
        "Layer times measured on this machine's CPU with 1 to \(units) units and batches of 1 to "
          + "\(samples), the median of \(Self.passes) runs each, scaled to runs of the whole."
      case .counted: "Operations counted from the shapes of the layers."
      }
    return NetworkProfile(
      name: name, source: source, inputMegabytes: Self.megabytes(bytes), layers: layers)
  }

  private static func megabytes(_ bytes: Int) -> Double { Double(bytes) / 1e6 }

  /// The times of batches of 1, 2, 4 … samples with every number of units, per layer.
  private func measuredTables(kernel: Int) throws -> [NetworkProfile.Table] {
    let batches = Array(sequence(first: 1) { $0 * 2 < samples ? $0 * 2 : nil }) + [samples]
    let distinct = samples > 1 ? batches : [1]
    // By units, then by batch, then by layer.
    let found = try (1...units).map { units in
      try distinct.map { try milliseconds($0, kernel: kernel, units: units) }
    }
    return program.layers.indices.map { layer in
      NetworkProfile.Table(
        batches: distinct, units: Array(1...units),
        milliseconds: found.map { row in row.map { ($0[layer] * 1e6).rounded() / 1e6 } })
    }
  }

  /// A line through the times of one sample and of all, per layer.
  private func measuredCosts(kernel: Int) throws -> [NetworkProfile.Cost] {
    let one = try milliseconds(1, kernel: kernel, units: units)
    guard samples > 1 else { return one.map { .init(fixed: 0, perSample: $0) } }
    return zip(one, try milliseconds(samples, kernel: kernel, units: units)).map { first, all in
      let slope = max((all - first) / Double(samples - 1), 0)
      let fixed = max(first - slope, 0)
      let rounded = { (value: Double) in (value * 1e6).rounded() / 1e6 }
      return .init(
        fixed: rounded(fixed), perSample: rounded((max(all, first) - fixed) / Double(samples)))
    }
  }

  /// The time of each layer with some samples; together they are that of a run of the whole
  /// network, where what passes between layers lies elsewhere than at their borders.
  ///
  /// - Parameter kernel: Which kernel computes the layers that have so many.
  private func milliseconds(_ batch: Int, kernel: Int, units: Int) throws -> [Double] {
    let workspace = try filledWorkspace(batch)
    let kernels = loaded.layers.map { min(kernel, $0.kernelCount - 1) }
    var (whole, each) = ([Double](), Array(repeating: [Double](), count: kernels.count))
    func time(_ layers: Range<Int>) throws -> Double {
      let begin = Clock.nanoseconds
      try loaded.run(
        layers, kernels: kernels[layers], samples: 0..<batch, in: workspace, units: units)
      return Double(Clock.nanoseconds - begin) / 1e6
    }
    // Kernels are made, and memory is touched for the first time.
    _ = try time(kernels.indices)
    for _ in 0..<Self.passes {
      for layer in kernels.indices { each[layer].append(try time(layer..<layer + 1)) }
      whole.append(try time(kernels.indices))
    }
    let layers = each.map { $0.sorted()[Self.passes / 2] }
    let scale = whole.sorted()[Self.passes / 2] / max(layers.reduce(0, +), 1e-9)
    return layers.map { $0 * scale }
  }

  private func filledWorkspace(_ batch: Int) throws -> any Workspace {
    let shapes = program.graph.inputs.map { shape($0, samples: batch) }
    let workspace = try loaded.makeWorkspace(samples: batch, inputShapes: shapes)
    for (index, id) in program.graph.inputs.enumerated() {
      let isBatched = if case .independent = program.batching { true } else { false }
      inputElements(id, samples: batch).withUnsafeBytes {
        workspace.setInput(index, samples: 0..<(isBatched ? batch : 1), from: $0)
      }
    }
    return workspace
  }

  // MARK: Inputs

  private func shape(_ id: ValueID, samples: Int) -> [Int] {
    (program.graph[id].shape ?? []).enumerated().map { axis, dimension in
      if case .fixed(let size) = dimension { size } else { axis == 0 ? samples : 1 }
    }
  }

  private func elements(_ id: ValueID, samples: Int) -> Int {
    shape(id, samples: samples).reduce(1, *)
  }

  private func size(_ id: ValueID) -> Int { (program.graph[id].type ?? .float32).byteSize }

  /// Noise for real inputs: zeros are quicker in some kernels.
  ///
  /// Whole numbers are 0, which is an index into anything.
  private func inputElements(_ id: ValueID, samples: Int) -> [UInt8] {
    let count = elements(id, samples: samples)
    guard program.graph[id].type ?? .float32 == .float32 else {
      return Array(repeating: 0, count: count * size(id))
    }
    var state: UInt64 = 1
    let values = (0..<count).map { _ -> Float in
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Float(state >> 40) / Float(1 << 24)
    }
    return values.withUnsafeBytes { Array($0) }
  }
}
