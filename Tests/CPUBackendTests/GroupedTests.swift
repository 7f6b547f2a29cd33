import Models
import Testing
import Vocabulary

@testable import CPUBackend

@Suite("Convolutions in groups that fill no vector of channels")
struct GroupedTests {
  /// A unit of ShuffleNet (Zhang and others, 2017): a product in groups, channels shuffled, a
  /// window over each channel, a product in groups.
  @Test("A product in groups, a shuffle, a window over each channel", arguments: 0..<12)
  func unit(seed: Int) throws {
    var maker = GraphMaker(seed: seed)
    let (groups, each) = [(4, 9), (2, 17), (3, 12)][seed % 3]
    let channels = groups * each
    let (height, width) = [(4, 4), (7, 7), (5, 9), (14, 14)][seed % 4]
    let x = maker.input([channels, height, width])
    let group: [String: Attribute] = ["group": .int(groups)]
    let w = maker.weight([channels, each, 1, 1], scale: 0.3)
    let a = maker.node("Relu", [maker.node("Conv", [x, w, maker.weight([channels])], group)])
    let parts = maker.node(
      "Reshape", [a, maker.integers([0, groups, each, height * width])])
    let turned = maker.node("Transpose", [parts], ["perm": .ints([0, 2, 1, 3])])
    let shuffled = maker.node("Reshape", [turned, maker.integers([0, channels, height, width])])
    let step = 1 + seed / 6
    let window: [String: Attribute] = [
      "group": .int(channels), "pads": .ints([1, 1, 1, 1]), "strides": .ints([step, step]),
    ]
    let each3 = maker.weight([channels, 1, 3, 3], scale: 0.4)
    let inputs = seed % 2 == 0 ? [shuffled, each3] : [shuffled, each3, maker.weight([channels])]
    let b = maker.node("Conv", inputs, window)
    let c = maker.node("Conv", [seed % 4 == 3 ? maker.node("Relu", [b]) : b, w], group)
    try expectAgreement(
      step == 1 ? maker.finish(maker.node("Add", [c, x]), b) : maker.finish(c), seed: seed)
  }

  @Test("Narrow vectors make the products of wide ones", arguments: [false, true])
  func products(isHalf: Bool) throws {
    var random = Seeded(1)
    let (groups, inputs, outputs, plane) = (3, 11, 13, 83)
    let source = Self.bytes(random.floats(groups * inputs * plane), isHalf)
    let weights = random.floats(groups * outputs * inputs)
    let bias = random.floats(groups * outputs)
    let residual = random.floats(groups * outputs * plane)
    func run(isWide: Bool) throws -> [UInt8] {
      var kernel = GroupedPointwiseKernel(
        samples: 1, groups: groups, inputs: inputs, outputs: outputs, plane: plane,
        addsResidual: true, clampsAtZero: true, isHalf: (isHalf, isHalf))
      kernel.isWide = isWide
      var packed = [Float](repeating: 0, count: kernel.weightCount)
      weights.withUnsafeBufferPointer { from in
        packed.withUnsafeMutableBufferPointer { to in
          to.baseAddress.map { kernel.pack(from, into: $0) }
        }
      }
      return try Self.run(
        kernel,
        [source, Self.bytes(packed, false), Self.bytes(bias, false), Self.bytes(residual, isHalf)])
    }
    let narrow = try run(isWide: false)
    // Outputs without a sign: some are cut, most are not.
    #expect(narrow.contains { $0 != 0 })
    if Processor.hasWideVectors { #expect(try run(isWide: true) == narrow) }
  }

  @Test("Narrow vectors make the windows of wide ones", arguments: [(1, false), (2, true)])
  func windows(step: Int, isHalf: Bool) throws {
    var random = Seeded(2)
    let source = Self.bytes(random.floats(5 * 6 * 7), isHalf)
    let weights = Self.bytes(random.floats(45), false)
    let bias = Self.bytes(random.floats(5), false)
    func run(isWide: Bool) throws -> [UInt8] {
      var kernel = DepthwiseKernel(
        planes: 5, channels: 5, height: 6, width: 7, step: step, clampsAtZero: true,
        isHalf: (isHalf, isHalf))
      kernel.isWide = isWide
      return try Self.run(kernel, [source, weights, bias, source])
    }
    let narrow = try run(isWide: false)
    #expect(narrow.contains { $0 != 0 })
    if Processor.hasWideVectors { #expect(try run(isWide: true) == narrow) }
  }

  /// Numbers as a kernel reads them; BF16 is the first half of FP32.
  private static func bytes(_ numbers: [Float], _ isHalf: Bool) -> [UInt8] {
    isHalf
      ? numbers.flatMap { number in
        withUnsafeBytes(of: UInt16(number.bitPattern >> 16)) { Array($0) }
      } : numbers.withUnsafeBytes { Array($0) }
  }

  /// What a kernel makes in the memory of its last operand.
  private static func run(_ kernel: any Kernel, _ operands: [[UInt8]]) throws -> [UInt8] {
    let places = operands.map { bytes in
      let place = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 64)
      place.copyBytes(from: bytes)
      return place
    }
    defer { for place in places { place.deallocate() } }
    // A residual is the memory of the output, too.
    var pointers = places.compactMap(\.baseAddress)
    if kernel is GroupedPointwiseKernel { pointers.append(pointers[3]) }
    try kernel.run(pointers, scratchpad: pointers[0])
    return places.last.map { Array($0) } ?? []
  }
}
