import Glibc
import Models
import Reference
import Testing
import Vocabulary

@testable import CPUBackend

/// A number cut to BF16.
private func cut(_ number: Float) -> Float { Float(bitPattern: number.bitPattern & 0xFFFF_0000) }

/// Memory for a kernel.
private final class Memory {
  let bytes: UnsafeMutableRawPointer

  init(_ count: Int) {
    bytes = .allocate(byteCount: max(count, 64), alignment: 64)
    bytes.initializeMemory(as: UInt8.self, repeating: 0xFF, count: max(count, 64))
  }

  /// Numbers as FP32, or as BF16.
  convenience init(_ numbers: [Float], isHalf: Bool) {
    self.init(numbers.count * 4)
    for (index, number) in numbers.enumerated() {
      if isHalf {
        halves[index] = UInt16(number.bitPattern >> 16)
      } else {
        floats[index] = number
      }
    }
  }

  deinit { bytes.deallocate() }

  var floats: UnsafeMutablePointer<Float> { bytes.assumingMemoryBound(to: Float.self) }
  var halves: UnsafeMutablePointer<UInt16> { bytes.assumingMemoryBound(to: UInt16.self) }

  func numbers(_ count: Int, isHalf: Bool) -> [Float] {
    (0..<count).map {
      isHalf ? Float(bitPattern: UInt32(halves[$0]) << 16) : floats[$0]
    }
  }
}

/// A function with the plain meaning that it has.
private func function(_ index: Int) -> (steps: [Activation], meaning: (Float) -> Float) {
  let functions: [(steps: [Activation], meaning: (Float) -> Float)] = [
    ([], { $0 }),
    (named("Relu"), { max($0, 0) }),
    (named("HardSwish"), { $0 * min(max($0 / 6 + 0.5, 0), 1) }),
    (named("HardSwish") + named("Neg"), { -$0 * min(max($0 / 6 + 0.5, 0), 1) }),
    (
      Activation.steps("HardSigmoid", alpha: 0.3, beta: 0.4) ?? [],
      { min(max(0.3 * $0 + 0.4, 0), 1) }
    ),
    (named("Silu"), { $0 / (1 + exp(-$0)) }),
    (named("LeakyRelu", alpha: 0.25), { $0 < 0 ? $0 / 4 : $0 }),
    (named("Clip", alpha: -0.5, beta: 0.5), { min(max($0, -0.5), 0.5) }),
  ]
  return functions[index % functions.count]
}

private func named(_ name: String, alpha: Float = 0, beta: Float = 0) -> [Activation] {
  Activation.named(name, alpha: alpha, beta: beta).map { [$0] } ?? []
}

private func expectNear(_ made: [Float], _ right: [Float]) {
  #expect(made.count == right.count)
  let isNear = zip(made, right).allSatisfy { abs($0 - $1) <= abs($1) / 128 + 0.002 }
  #expect(isNear)
}

@Suite("BF16 with channels side by side", .enabled(if: Processor.hasMatrixUnits))
struct SideBySideTests {
  @Test("A product for each pixel", arguments: 0..<16)
  func products(seed: Int) throws {
    var random = Seeded(seed)
    let (inputs, outputs) = [(8, 5), (32, 32), (40, 24), (96, 33), (17, 100), (64, 48)][seed % 6]
    let pixels = [1, 16, 37, 700][seed % 4]
    let (isHalf, after) = (seed % 5 != 4, function(seed))
    let source = random.floats(pixels * inputs).map(cut)
    let weights = random.floats(outputs * inputs).map { cut($0 / 4) }
    let bias = random.floats(outputs)
    let residual = seed % 3 == 1 ? random.floats(pixels * outputs).map(cut) : nil
    var right: [Float] = []
    for pixel in 0..<pixels {
      for output in 0..<outputs {
        let sum = (0..<inputs).reduce(bias[output]) {
          $0 + source[pixel * inputs + $1] * weights[output * inputs + $1]
        }
        right.append(after.meaning(sum + (residual?[right.count] ?? 0)))
      }
    }
    let answers = try [1, 2].map { threads in
      let kernel = try #require(
        PointwiseKernel(
          pixels: pixels, inputs: inputs, outputs: outputs, functions: after.steps,
          isHalf: isHalf, threads: threads))
      let packed = Memory(kernel.weightBytes)
      weights.withUnsafeBufferPointer { from in
        if let start = from.baseAddress {
          kernel.pack(start, strides: (output: inputs, input: 1), into: packed.bytes)
        }
      }
      let target = Memory(
        residual ?? [Float](repeating: 0, count: pixels * outputs), isHalf: isHalf)
      let (from, added) = (Memory(source, isHalf: true), Memory(bias, isHalf: false))
      let scratch = Memory(kernel.scratch)
      OneDNN.use(units: threads)
      defer { OneDNN.use(units: 1) }
      let operands = [from.bytes, packed.bytes, added.bytes, target.bytes]
      try withExtendedLifetime((from, added, packed)) {
        try kernel.run(
          residual == nil ? operands : operands + [target.bytes], scratchpad: scratch.bytes)
      }
      return target.numbers(pixels * outputs, isHalf: isHalf)
    }
    expectNear(answers[0], right)
    #expect(answers[0] == answers[1])
  }

  @Test("A window over each channel", arguments: 0..<16)
  func windows(seed: Int) throws {
    var random = Seeded(seed + 50)
    let shape = try Self.windowShape(seed)
    let (input, output, size) = (shape.input, shape.output, shape.window.kernel)
    let channels = input[1]
    let source = random.floats(input.elementCount).map(cut)
    let weights = random.floats(channels * size[0] * size[1]).map { $0 / 3 }
    let bias = seed % 4 == 0 ? nil : random.floats(channels)
    var right: [Float] = []
    for place in 0..<output.elementCount {
      let channel = place % channels
      let (line, column) = (place / channels).quotientAndRemainder(dividingBy: output[3])
      let (sample, row) = line.quotientAndRemainder(dividingBy: output[2])
      var sum = bias?[channel] ?? 0
      for pixel in 0..<size[0] * size[1] {
        let y = row * shape.window.strides[0] + pixel / size[1] - shape.window.before[0]
        let x = column * shape.window.strides[1] + pixel % size[1] - shape.window.before[1]
        guard 0..<input[2] ~= y, 0..<input[3] ~= x else { continue }
        let from = ((sample * input[2] + y) * input[3] + x) * channels + channel
        sum += source[from] * weights[channel * size[0] * size[1] + pixel]
      }
      right.append(function(seed).meaning(sum))
    }
    let kernel = try #require(DepthwiseSideBySideKernel(shape))
    let packed = Memory(kernel.weightCount * 4)
    let (given, added) = (Memory(weights, isHalf: false), bias.map { Memory($0, isHalf: false) })
    withExtendedLifetime((given, added)) {
      kernel.pack(given.floats, added.map { UnsafePointer($0.floats) }, into: packed.floats)
    }
    let answers = try [1, 2].map { threads in
      let (from, target) = (Memory(source, isHalf: true), Memory(right.count * 2 + 64))
      OneDNN.use(units: threads)
      defer { OneDNN.use(units: 1) }
      try withExtendedLifetime((from, packed)) {
        try kernel.run([from.bytes, packed.bytes, target.bytes], scratchpad: target.bytes)
      }
      // Nothing is written beyond the last channel.
      #expect(target.halves[right.count] == 0xFFFF)
      return target.numbers(right.count, isHalf: true)
    }
    expectNear(answers[0], right)
    #expect(answers[0] == answers[1])
  }

  @Test("Swish of numbers of all sizes", arguments: [1, 2])
  func swish(threads: Int) throws {
    let numbers = (0..<1003).map { cut(Float($0 - 501) / 10) } + [1e30, -1e30, 0]
    let memory = Memory(numbers, isHalf: true)
    OneDNN.use(units: threads)
    defer { OneDNN.use(units: 1) }
    try SwishKernel(count: numbers.count - 1, alpha: 1).run(
      [memory.bytes, memory.bytes], scratchpad: memory.bytes)
    let made = memory.numbers(numbers.count, isHalf: true)
    expectNear(made, numbers.map { $0 / (1 + exp(-max($0, -80))) })
  }

  private static func windowShape(_ seed: Int) throws -> ConvolutionShape {
    let channels = [8, 16, 32, 40, 72][seed % 5]
    let (rows, columns) = [(3, 70), (9, 5), (12, 13)][seed % 3]
    let size = [[3, 3], [5, 5], [5, 3]][seed / 2 % 3]
    let strides = [[1, 1], [2, 1], [1, 2], [2, 2]][seed % 4]
    let pads = [size[0] / 2, size[1] / 2, size[0] - 1 - size[0] / 2, 0]
    let node = Node(
      name: "", operation: "Conv", opset: 13, inputs: [], outputs: [],
      attributes: ["strides": .ints(strides), "pads": .ints(pads)])
    let window = try Window(node, kernel: size, input: [rows, columns])
    let sizes = [rows, columns]
    let made = [0, 1].map { axis -> Int in
      let reach = sizes[axis] + pads[axis] + pads[axis + 2] - size[axis]
      return reach / strides[axis] + 1
    }
    let steps = function(seed).steps
    return ConvolutionShape(
      input: [2, channels, rows, columns], output: [2, channels] + made,
      weights: [channels, 1, 1] + size, window: window, channels: channels, groups: channels,
      post: PostOperations(activation: steps.first, further: Array(steps.dropFirst())))
  }
}
