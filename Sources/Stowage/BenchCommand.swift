import ArgumentParser
import Backend
import Compiler
import Glibc
import Models
import Threads
import Vocabulary

/// `stowage bench`: one model on one backend, driven line by line by a benchmark.
struct BenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench",
    abstract: "Runs one model as a benchmark tells it, without a server.",
    discussion: """
      Reads commands from standard input, one a line, and answers each with a line:

        run SAMPLES INPUTS OUTPUTS [SHAPE ...]
                                     reads the inputs' elements from a file, one input after the
                                     other, writes the outputs' to another: "ok NANOSECONDS"; a
                                     shape for each input, such as 4x3x96x160, where the model
                                     leaves sizes open
        time SAMPLES                 runs again with the last inputs: "ok NANOSECONDS"
        layers                       names and bytes of the layers, then "ok"
        profile SAMPLES              names and nanoseconds of the layers, run one by one with the
                                     last inputs, the median of 7, then "ok"
      """)

  @Argument(help: "The ONNX file.")
  var model: String

  @Option(help: "Compute units (cores) to use.")
  var units = 1

  @Option(help: "The most samples of a run.")
  var maxBatch = 8

  @Option(help: "Where layers run: cpu, reference or null.")
  var backend = EngineOptions.BackendName.cpu

  @Option(
    help: "What to compute with: fp32, or bf16 where the processor has it.",
    transform: PrecisionOption.single)
  var precision = Precision.float32

  @Flag(help: "Multiply FP32 without units that multiply matrices, as `serve` can be told.")
  var noMatrixUnits = false

  func run() throws {
    let begin = Clock.nanoseconds
    let program = try Compiler.compile(OnnxFile.read(path: model))
    let loaded = try backend.make(units: units, noMatrixUnits: noMatrixUnits).load(
      program,
      options: LoadOptions(
        maximumBatch: maxBatch, units: Array(1...units), precision: precision))
    var samples = 1
    while try loaded.makeKernels(samples: samples) { samples *= 2 }
    var bench = Bench(program: program, loaded: loaded, units: units)
    reply("ready \(Clock.nanoseconds - begin)")
    while let line = readLine() {
      do {
        reply(try bench.answer(line.split(separator: " ").map(String.init)))
      } catch {
        reply("error \(error)")
      }
    }
  }

  private func reply(_ line: String) { StandardOutput.write(line + "\n") }
}

/// A loaded model with the memory of its last run.
private struct Bench {
  let program: Program
  let loaded: any LoadedModel
  let units: Int
  private var workspace: (any Workspace)?

  init(program: Program, loaded: any LoadedModel, units: Int) {
    self.program = program
    self.loaded = loaded
    self.units = units
  }

  mutating func answer(_ words: [String]) throws -> String {
    // Samples that cannot be told apart are one.
    let isBatched = if case .independent = program.batching { true } else { false }
    let samples = words.count > 1 ? Int(words[1]).map { isBatched ? $0 : 1 } : nil
    switch (words.first, words.count) {
    case ("run", 4...):
      guard let samples else { break }
      let shapes = words[4...].map { $0.split(separator: "x").compactMap { Int($0) } }
      try prepare(samples, words[2], shapes)
      let time = try time(samples)
      try write(samples, to: words[3])
      return "ok \(time)"
    case ("time", 2):
      guard let samples else { break }
      return "ok \(try time(samples))"
    case ("layers", 1):
      for layer in loaded.layers {
        StandardOutput.write(
          "\(layer.name)\t\(layer.weights.bytes)\t\(layer.activations.bytes)\t"
            + "\(layer.scratch.bytes)\n")
      }
      return "ok"
    case ("profile", 2):
      guard let samples else { break }
      try profile(samples)
      return "ok"
    default: break
    }
    return "error unknown command"
  }

  private func time(_ samples: Int) throws -> Int64 {
    guard let workspace else { throw ModelError("Nothing was run yet.") }
    let begin = Clock.nanoseconds
    try loaded.run(
      0..<program.layers.count, samples: 0..<samples, in: workspace, units: units)
    return Clock.nanoseconds - begin
  }

  /// Each layer by itself, which computes the same again and again on what its borders hold.
  private func profile(_ samples: Int) throws {
    guard let workspace else { throw ModelError("Nothing was run yet.") }
    for layer in program.layers.indices {
      let times = try (0..<7).map { _ in
        let begin = Clock.nanoseconds
        try loaded.run(layer..<layer + 1, samples: 0..<samples, in: workspace, units: units)
        return Clock.nanoseconds - begin
      }
      let operations = program.graph.nodes[program.layers[layer].nodes].map(\.operation)
      StandardOutput.write(
        "\(program.layers[layer].name)\t\(operations.joined(separator: "+"))\t"
          + "\(times.sorted()[3])\n")
    }
  }

  private mutating func prepare(_ samples: Int, _ path: String, _ given: [[Int]]) throws {
    let isBatched = if case .independent = program.batching { true } else { false }
    let shapes = try program.graph.inputs.enumerated().map { index, id -> [Int] in
      if given.indices.contains(index) { return given[index] }
      guard let shape = program.graph[id].shape else { throw ModelError("An input has no rank.") }
      return shape.enumerated().map { axis, dimension in
        if case .fixed(let size) = dimension { size } else { axis == 0 ? samples : 1 }
      }
    }
    let made = try loaded.makeWorkspace(samples: samples, inputShapes: shapes)
    workspace = made
    guard let file = fopen(path, "r") else { throw ModelError("'\(path)' cannot be read.") }
    defer { fclose(file) }
    for (index, shape) in shapes.enumerated() {
      let type = program.graph[program.graph.inputs[index]].type ?? .float32
      var bytes = [UInt8](repeating: 0, count: shape.elementCount * type.byteSize)
      guard fread(&bytes, 1, bytes.count, file) == bytes.count else {
        throw ModelError("'\(path)' is shorter than the inputs.")
      }
      bytes.withUnsafeBytes {
        made.setInput(index, samples: 0..<(isBatched ? samples : 1), from: $0)
      }
    }
  }

  private func write(_ samples: Int, to path: String) throws {
    guard let workspace, let file = fopen(path, "w") else {
      throw ModelError("'\(path)' cannot be written.")
    }
    defer { fclose(file) }
    let isBatched = if case .independent = program.batching { true } else { false }
    for index in program.graph.outputs.indices {
      let tensor = workspace.output(index, samples: 0..<(isBatched ? samples : 1))
      fwrite(tensor.storage.base, 1, tensor.byteCount, file)
    }
  }
}
