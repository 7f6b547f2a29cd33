import COneDNN
import Models
import Reference
import Vocabulary

extension Lowering {
  /// Images made larger or smaller along their last two axes, or their last one.
  mutating func lowerResize(_ node: Node) throws(ModelError) -> Bool {
    guard let x = node.inputs[0], let y = node.outputs[0], constant(x) == nil,
      try type(x) == .float32
    else { return false }
    let (input, output) = (try shape(x), try shape(y))
    guard input.count >= 3, !input.contains(0) else { return false }
    var settings: [Tensor?] = [nil]
    for id in node.inputs.dropFirst() {
      guard let id else {
        settings.append(nil)
        continue
      }
      guard let tensor = constant(id) else { return false }
      settings.append(tensor)
    }
    guard let taps = try Reference.resizeTaps(node, shape: input, settings),
      zip(taps, output).allSatisfy({ $0.count == $1 }),
      taps.dropLast(2).allSatisfy({ line in
        line.enumerated().allSatisfy { $1.count == 1 && $1[0].place == $0 }
      })
    else { return false }
    let rows = ResizeKernel.Line(taps[taps.count - 2])
    let columns = ResizeKernel.Line(taps[taps.count - 1])
    let (_, type, layout) = try resizable(x, moves: rows.picks && columns.picks)
    let source = try value(x, layout, type)
    let target = try makeBuffer(y, layout, type)
    let block = MemoryDescriptor.block
    let (planes, side) =
      switch layout {
      case .plain: (input.dropLast(2).reduce(1, *), 1)
      case .blocked: (input[0] * ((input[1] + block - 1) / block), block)
      case .channelsLast: (input[0], input[1])
      }
    let kernel = ResizeKernel(
      planes: planes, height: input[input.count - 2], width: input[input.count - 1], rows: rows,
      columns: columns, pixelBytes: side * type.byteSize)
    steps.append(
      Plan.Step(kernel: kernel, operands: [.buffer(source), .buffer(target)], writes: 1))
    return true
  }

  /// The form in which an image is resized: its own where pixels are only moved, or where groups of
  /// channels of FP32 lie side by side.
  private mutating func resizable(
    _ x: ValueID, moves: Bool
  ) throws(ModelError) -> (shape: [Int], type: ElementType, layout: Layout) {
    let form = try forms[home(x)]
    if form.shape.count == 4, form.layout == .blocked, form.type == .float32 { return form }
    if form.shape.count == 4, form.layout != .plain, moves { return form }
    return (form.shape, .float32, .plain)
  }

  /// Sums, means and extremes along neighbouring axes.
  mutating func lowerReduction(_ node: Node) throws(ModelError) -> Bool {
    let kinds: [String: ReductionKernel.Kind] = [
      "ReduceSum": .sum, "ReduceMean": .mean, "ReduceMax": .maximum, "ReduceMin": .minimum,
    ]
    guard let x = node.inputs[0], let y = node.outputs[0], constant(x) == nil,
      try type(x) == .float32, let kind = kinds[node.operation]
    else { return false }
    let given = node.inputs.count > 1 ? node.inputs[1] : nil
    guard given.map({ constant($0) != nil }) ?? true,
      let named = node.ints("axes") ?? given.flatMap({ constant($0)?.wholeNumbers }),
      !named.isEmpty
    else { return false }
    let input = try shape(x)
    let axes = named.map { $0 < 0 ? $0 + input.count : $0 }.sorted()
    guard let first = axes.first, let last = axes.last, first >= 0, last < input.count,
      axes == Array(first...last), !input.contains(0)
    else { return false }
    let kernel = ReductionKernel(
      kind: kind, outer: input[..<first].reduce(1, *), size: input[first...last].reduce(1, *),
      inner: input[(last + 1)...].reduce(1, *))
    let source = try value(x, .plain)
    let target = try makeBuffer(y, .plain)
    steps.append(
      Plan.Step(kernel: kernel, operands: [.buffer(source), .buffer(target)], writes: 1))
    return true
  }
}
