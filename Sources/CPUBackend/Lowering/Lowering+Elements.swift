import COneDNN
import Compiler
import Models
import Vocabulary

extension Lowering {
  /// Arithmetic on two tensors by the first of several ways that fits.
  mutating func lowerArithmetic(_ node: Node) throws(ModelError) -> Bool {
    if try lowerScalar(node) { return true }
    if try lowerBinary(node) { return true }
    return try lowerBroadcast(node)
  }

  /// Arithmetic with one constant number: a line, which oneDNN computes in every layout, while its
  /// binary operators take 1,000 times longer where channels lie in blocks.
  private mutating func lowerScalar(_ node: Node) throws(ModelError) -> Bool {
    guard node.inputs.count == 2, let a = node.inputs[0], let b = node.inputs[1],
      let y = node.outputs[0], try type(a) == .float32, try type(b) == .float32
    else { return false }
    let (x, number, isSecond) =
      constant(b).map { $0.elementCount == 1 } == true ? (a, b, true) : (b, a, false)
    guard constant(x) == nil, let value = constant(number), value.elementCount == 1,
      try shape(x) == shape(y), try !shape(y).isEmpty
    else { return false }
    let c = value.withElements(as: Float.self) { $0[0] }
    let line: (Float, Float)
    switch (node.operation, isSecond) {
    case ("Add", _), ("Sum", _): line = (1, c)
    case ("Mul", _): line = (c, 0)
    case ("Sub", true): line = (1, -c)
    case ("Sub", false): line = (-1, c)
    // Exact only where the reciprocal is.
    case ("Div", true) where c.isNormal && c.significand == 1: line = (1 / c, 0)
    default: return false
    }
    return try lowerActivation(
      [Activation(algorithm: dnnl_eltwise_linear, alpha: line.0, beta: line.1)], x, y)
  }

  /// Arithmetic, comparison and logic of any two tensors, in the plain layout.
  mutating func lowerBroadcast(_ node: Node) throws(ModelError) -> Bool {
    guard node.inputs.count == 2, let a = node.inputs[0], let b = node.inputs[1],
      let y = node.outputs[0], constant(a) == nil || constant(b) == nil,
      try type(a) == type(b)
    else { return false }
    let shapes = (try shape(a), try shape(b), try shape(y))
    let kernel: (any Kernel)? =
      switch try type(a) {
      case .float32: Self.arithmetic(node.operation, shapes) ?? comparison(node, shapes, Float.self)
      case .int32: comparison(node, shapes, Int32.self)
      case .int64: comparison(node, shapes, Int64.self)
      case .uint8: comparison(node, shapes, UInt8.self)
      case .bool: Self.logic(node.operation, shapes)
      default: nil
      }
    guard let kernel else { return false }
    var operands: [Plan.Operand] = []
    for id in [a, b] {
      if let tensor = program.graph[id].constant {
        operands.append(.weight(try model.plainWeight(tensor, id, layer: layer)))
      } else {
        operands.append(.buffer(try value(id, .plain)))
      }
    }
    operands.append(.buffer(try makeBuffer(y, .plain)))
    steps.append(Plan.Step(kernel: kernel, operands: operands, writes: 1))
    return true
  }

  private static func arithmetic(
    _ operation: String, _ shapes: ([Int], [Int], [Int])
  ) -> (any Kernel)? {
    func kernel(_ function: @escaping @Sendable (Rows<Float, Float>) -> Void) -> any Kernel {
      BroadcastKernel(shapes.0, shapes.1, shapes.2, function: function)
    }
    switch operation {
    case "Add", "Sum": return kernel { $0.fill { $0 + $1 } }
    case "Sub": return kernel { $0.fill { $0 - $1 } }
    case "Mul": return kernel { $0.fill { $0 * $1 } }
    case "Div": return kernel { $0.fill { $0 / $1 } }
    default: return nil
    }
  }

  private func comparison<Element: Comparable & Sendable>(
    _ node: Node, _ shapes: ([Int], [Int], [Int]), _ type: Element.Type
  ) -> (any Kernel)? {
    func kernel(_ function: @escaping @Sendable (Rows<Element, UInt8>) -> Void) -> any Kernel {
      BroadcastKernel(shapes.0, shapes.1, shapes.2, function: function)
    }
    switch node.operation {
    case "Equal": return kernel { $0.fill { $0 == $1 ? 1 : 0 } }
    case "Less": return kernel { $0.fill { $0 < $1 ? 1 : 0 } }
    case "LessOrEqual": return kernel { $0.fill { $0 <= $1 ? 1 : 0 } }
    case "Greater": return kernel { $0.fill { $0 > $1 ? 1 : 0 } }
    case "GreaterOrEqual": return kernel { $0.fill { $0 >= $1 ? 1 : 0 } }
    default: return nil
    }
  }

  private static func logic(
    _ operation: String, _ shapes: ([Int], [Int], [Int])
  ) -> (any Kernel)? {
    func kernel(_ function: @escaping @Sendable (Rows<UInt8, UInt8>) -> Void) -> any Kernel {
      BroadcastKernel(shapes.0, shapes.1, shapes.2, function: function)
    }
    switch operation {
    case "And": return kernel { $0.fill { $0 & $1 } }
    case "Or": return kernel { $0.fill { $0 | $1 } }
    case "Xor": return kernel { $0.fill { $0 ^ $1 } }
    default: return nil
    }
  }

  /// Conversions that cannot go out of range: to wider numbers, and of truth to numbers.
  mutating func lowerCast(_ node: Node) throws(ModelError) -> Bool {
    guard let x = node.inputs[0], let y = node.outputs[0], constant(x) == nil else { return false }
    let (from, to, count) = (try type(x), try type(y), try shape(x).elementCount)
    let kernel: SwiftKernel? =
      switch (from, to) {
      case (.bool, .float32), (.uint8, .float32):
        SwiftKernel { Self.convert($0, count) { (x: UInt8) in Float(x) } }
      case (.bool, .int32), (.uint8, .int32):
        SwiftKernel { Self.convert($0, count) { (x: UInt8) in Int32(x) } }
      case (.bool, .int64), (.uint8, .int64):
        SwiftKernel { Self.convert($0, count) { (x: UInt8) in Int64(x) } }
      case (.int32, .float32): SwiftKernel { Self.convert($0, count) { (x: Int32) in Float(x) } }
      case (.int32, .int64): SwiftKernel { Self.convert($0, count) { (x: Int32) in Int64(x) } }
      case (.int64, .float32): SwiftKernel { Self.convert($0, count) { (x: Int64) in Float(x) } }
      case (.float32, .float64): SwiftKernel { Self.convert($0, count) { (x: Float) in Double(x) } }
      case (.float64, .float32): SwiftKernel { Self.convert($0, count) { (x: Double) in Float(x) } }
      default: nil
      }
    guard let kernel else { return false }
    let source = try value(x, .plain)
    let target = try makeBuffer(y, .plain)
    steps.append(
      Plan.Step(kernel: kernel, operands: [.buffer(source), .buffer(target)], writes: 1))
    return true
  }

  /// Converts so many numbers; inlined, so that each conversion is a loop over whole vectors.
  @inline(__always)
  private static func convert<From, To>(
    _ operands: [UnsafeMutableRawPointer], _ count: Int, _ function: (From) -> To
  ) {
    let from = operands[0].assumingMemoryBound(to: From.self)
    let to = operands[1].assumingMemoryBound(to: To.self)
    for index in 0..<count { to[index] = function(from[index]) }
  }
}

extension Tensor {
  /// The elements of an integer tensor, as files give them for axes and sizes; nil for others.
  var wholeNumbers: [Int]? {
    switch type {
    case .int64: withElements(as: Int64.self) { $0.map(Int.init) }
    case .int32: withElements(as: Int32.self) { $0.map(Int.init) }
    default: nil
    }
  }
}
