import COneDNN
import Glibc
import Models
import Vocabulary

extension Lowering {
  /// A power with a constant exponent.
  mutating func lowerPower(_ node: Node) throws(ModelError) -> Bool {
    guard let x = node.inputs[0], let b = node.inputs[1], let y = node.outputs[0],
      constant(x) == nil, try type(x) == .float32, let tensor = constant(b),
      tensor.elementCount == 1, try shape(x) == shape(y), try !shape(y).isEmpty
    else { return false }
    let exponent: Float
    switch tensor.type {
    case .float32: exponent = tensor.withElements(as: Float.self) { $0[0] }
    case .float64: exponent = Float(tensor.withElements(as: Double.self) { $0[0] })
    default:
      guard let whole = tensor.wholeNumbers?.first else { return false }
      exponent = Float(whole)
    }
    switch exponent {
    case 2: return try lowerActivation([Activation(algorithm: dnnl_eltwise_square)], x, y)
    case 3: return try lowerFunction(x, y) { $0 * $0 * $0 }
    case -1: return try lowerFunction(x, y) { 1 / $0 }
    default: return try lowerFunction(x, y) { powf($0, exponent) }
    }
  }

  /// Functions that oneDNN does not know.
  mutating func lowerOtherFunction(_ node: Node) throws(ModelError) -> Bool {
    guard let x = node.inputs.first ?? nil, let y = node.outputs[0], constant(x) == nil,
      try type(x) == .float32
    else { return false }
    switch node.operation {
    case "Reciprocal": return try lowerFunction(x, y) { 1 / $0 }
    case "Erf": return try lowerFunction(x, y) { erff($0) }
    case "Floor": return try lowerFunction(x, y) { $0.rounded(.down) }
    case "Ceil": return try lowerFunction(x, y) { $0.rounded(.up) }
    case "Sin": return try lowerFunction(x, y) { sinf($0) }
    case "Cos": return try lowerFunction(x, y) { cosf($0) }
    default: return false
    }
  }

  private mutating func lowerFunction(
    _ x: ValueID, _ y: ValueID, _ function: @escaping @Sendable (Float) -> Float
  ) throws(ModelError) -> Bool {
    let source = try value(x, .plain)
    let count = try shape(x).elementCount
    let target = try makeBuffer(y, .plain, successorOf: source)
    let kernel = SwiftKernel { operands in
      let from = operands[0].assumingMemoryBound(to: Float.self)
      let to = operands[1].assumingMemoryBound(to: Float.self)
      OneDNN.parallel { thread, threads in
        for index in count * thread / threads..<count * (thread + 1) / threads {
          to[index] = function(from[index])
        }
      }
    }
    steps.append(
      Plan.Step(kernel: kernel, operands: [.buffer(source), .buffer(target)], writes: 1))
    return true
  }

  /// The opposite of truth.
  mutating func lowerNot(_ node: Node) throws(ModelError) -> Bool {
    guard let x = node.inputs[0], let y = node.outputs[0], constant(x) == nil else { return false }
    let (source, count) = (try value(x, .plain), try shape(x).elementCount)
    let target = try makeBuffer(y, .plain)
    let kernel = SwiftKernel { operands in
      let from = operands[0].assumingMemoryBound(to: UInt8.self)
      let to = operands[1].assumingMemoryBound(to: UInt8.self)
      for index in 0..<count { to[index] = from[index] == 0 ? 1 : 0 }
    }
    steps.append(
      Plan.Step(kernel: kernel, operands: [.buffer(source), .buffer(target)], writes: 1))
    return true
  }
}
