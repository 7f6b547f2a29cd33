import Models

/// Elements around a tensor: a constant, or what lies inside in one order or another.
///
/// Operands: input, output, both in the plain layout.
struct PadKernel: Kernel {
  /// For each axis of the output the place that it takes from the input, -1 for the constant.
  private let places: [[Int]]
  private let strides: [Int]
  /// Places of the last axis that lie side by side in both.
  private let inside: Range<Int>
  /// The bytes of the constant.
  private let filling: [UInt8]

  /// - Parameters:
  ///   - places: For each axis of the output the place of the input that it takes; -1 for none.
  ///   - input: The input's shape.
  ///   - filling: The bytes of one element.
  init(places: [[Int]], input: [Int], filling: [UInt8]) {
    self.places = places
    strides = Lowering.strides(of: input)
    self.filling = filling
    let line = places.last ?? []
    let first = line.firstIndex { $0 >= 0 } ?? 0
    // The longest run that counts upwards, of which there is one in the middle.
    var best = first..<first
    var start = 0
    for place in line.indices {
      if line[place] < 0 || (place > start && line[place] != line[place - 1] + 1) { start = place }
      if line[place] < 0 { start = place + 1 }
      if place + 1 - start > best.count { best = start..<place + 1 }
    }
    inside = best
  }

  var scratch: Int { 0 }

  func run(
    _ operands: [UnsafeMutableRawPointer], scratchpad: UnsafeMutableRawPointer
  ) throws(ModelError) {
    switch filling.count {
    case 1: fill(operands, as: UInt8.self)
    case 2: fill(operands, as: UInt16.self)
    case 4: fill(operands, as: UInt32.self)
    default: fill(operands, as: UInt64.self)
    }
  }

  private func fill<Element: FixedWidthInteger>(
    _ operands: [UnsafeMutableRawPointer], as type: Element.Type
  ) {
    let source = operands[0].assumingMemoryBound(to: Element.self)
    let target = operands[1].assumingMemoryBound(to: Element.self)
    let constant = filling.withUnsafeBytes { $0.loadUnaligned(as: Element.self) }
    guard let line = places.last else { return }
    let outer = places.dropLast().reduce(1) { $0 * $1.count }
    OneDNN.parallel { thread, threads in
      for row in outer * thread / threads..<outer * (thread + 1) / threads {
        let to = target + row * line.count
        guard let start = self.start(row) else {
          to.update(repeating: constant, count: line.count)
          continue
        }
        for place in 0..<inside.lowerBound {
          to[place] = line[place] < 0 ? constant : source[start + line[place]]
        }
        if !inside.isEmpty {
          (to + inside.lowerBound).update(
            from: source + start + line[inside.lowerBound], count: inside.count)
        }
        for place in inside.upperBound..<max(line.count, inside.upperBound) {
          to[place] = line[place] < 0 ? constant : source[start + line[place]]
        }
      }
    }
  }

  /// The first element of the input's row that a row of the output takes; nil for the constant.
  private func start(_ row: Int) -> Int? {
    var (rest, offset) = (row, 0)
    for axis in places.indices.dropLast().reversed() {
      let place = places[axis][rest % places[axis].count]
      guard place >= 0 else { return nil }
      offset += place * strides[axis]
      rest /= places[axis].count
    }
    return offset
  }
}
