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
  /// Passes over all layers whose shortest times count: what is longer was interrupted.
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
      program, options: LoadOptions(maximumBatch: samples, units: Array(1...units)))
    (self.units, self.samples) = (units, samples)
  }

  /// The network as the planner and the simulator read it.
  ///
  /// - Parameter times: How the times of its layers are found.
  func profile(named name: String, times: Times) throws -> NetworkProfile {
    let costs = times == .line ? try measuredCosts() : []
    let tables = times == .table ? try measuredTables() : []
    let bytes = program.graph.inputs.reduce(0) { $0 + elements($1, samples: 1) * size($1) }
    let layers = loaded.layers.enumerated().map { index, footprint in
      var layer = NetworkProfile.Layer(
        name: footprint.name, weightsMegabytes: Self.megabytes(footprint.weights.bytes),
        activationMegabytes: Self.megabytes(footprint.activations.bytes))
      layer.scratchMegabytes = Self.megabytes(footprint.scratch.bytes)
      layer.gigaflop = LayerWork.operations(program.layers[index], program.graph) / 1e9
      layer.blocks = LayerWork.blocks(program.layers[index], program.graph)
      if times == .line { layer.cost = costs[index] }
      if times == .table { layer.table = tables[index] }
      return layer
    }
    let source =
      switch times {
      case .line:
        "Layer times measured on this machine's CPU with \(units) units and batches of 1 and "
          + "\(samples), the shortest of \(Self.passes) runs each."
      case .table:
        "Layer times measured on this machine's CPU with 1 to \(units) units and batches of 1 to "
          + "\(samples), the shortest of \(Self.passes) runs each."
      case .counted: "Operations counted from the shapes of the layers."
      }
    return NetworkProfile(
      name: name, source: source, inputMegabytes: Self.megabytes(bytes), layers: layers)
  }

  private static func megabytes(_ bytes: Int) -> Double { Double(bytes) / 1e6 }

  /// The times of batches of 1, 2, 4 … samples with every number of units, per layer.
  private func measuredTables() throws -> [NetworkProfile.Table] {
    let batches = Array(sequence(first: 1) { $0 * 2 < samples ? $0 * 2 : nil }) + [samples]
    let distinct = samples > 1 ? batches : [1]
    // By units, then by batch, then by layer.
    let found = try (1...units).map { units in
      try distinct.map { try milliseconds($0, units: units) }
    }
    return program.layers.indices.map { layer in
      NetworkProfile.Table(
        batches: distinct, units: Array(1...units),
        milliseconds: found.map { row in row.map { ($0[layer] * 1e6).rounded() / 1e6 } })
    }
  }

  /// A line through the times of one sample and of all, per layer.
  private func measuredCosts() throws -> [NetworkProfile.Cost] {
    let one = try milliseconds(1, units: units)
    guard samples > 1 else { return one.map { .init(fixed: 0, perSample: $0) } }
    return zip(one, try milliseconds(samples, units: units)).map { first, all in
      let slope = max((all - first) / Double(samples - 1), 0)
      let fixed = max(first - slope, 0)
      let rounded = { (value: Double) in (value * 1e6).rounded() / 1e6 }
      return .init(
        fixed: rounded(fixed), perSample: rounded((max(all, first) - fixed) / Double(samples)))
    }
  }

  /// The shortest time of each layer with some samples.
  private func milliseconds(_ batch: Int, units: Int) throws -> [Double] {
    let shapes = program.graph.inputs.map { shape($0, samples: batch) }
    let workspace = try loaded.makeWorkspace(samples: batch, inputShapes: shapes)
    for (index, id) in program.graph.inputs.enumerated() {
      let isBatched = if case .independent = program.batching { true } else { false }
      inputElements(id, samples: batch).withUnsafeBytes {
        workspace.setInput(index, samples: 0..<(isBatched ? batch : 1), from: $0)
      }
    }
    var best = Array(repeating: Double.infinity, count: program.layers.count)
    for _ in 0..<Self.passes {
      for layer in program.layers.indices {
        let begin = Clock.nanoseconds
        try loaded.run(layer..<layer + 1, samples: 0..<batch, in: workspace, units: units)
        best[layer] = min(best[layer], Double(Clock.nanoseconds - begin) / 1e6)
      }
    }
    return best
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
  /// Whole numbers are 0, which is an
  /// index into anything.
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
