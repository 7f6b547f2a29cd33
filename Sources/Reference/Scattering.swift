import Models
import Vocabulary

extension Reference {
  /// Operators that write elements into a tensor.
  static let scattering: [String: Operator] = [
    "Scatter": scatterElements,
    "ScatterElements": scatterElements,
    "ScatterND": scatterND,
    "TensorScatter": tensorScatter,
  ]

  /// Writes updates into a tensor: update `i` goes to element `targets[i]`.
  private static func scattered(
    _ x: Tensor, _ updates: Tensor, _ targets: [Int], _ call: Call
  ) throws(ModelError) -> Tensor {
    let reduction = call.node.string("reduction", default: "none")
    if reduction == "none" {
      var sources = Array(0..<x.elementCount)
      for (update, target) in targets.enumerated() { sources[target] = x.elementCount + update }
      let flat = [x.reshaped([x.elementCount]), updates.reshaped([updates.elementCount])]
      return try joined(flat, axis: 0, call).gathered(x.shape) { sources[$0] }
    }
    func reduced<Number: Comparable>(
      _ values: [Number], _ updates: [Number], add: (Number, Number) -> Number,
      multiply: (Number, Number) -> Number
    ) throws(ModelError) -> [Number] {
      var values = values
      for (update, target) in zip(updates, targets) {
        switch reduction {
        case "add": values[target] = add(values[target], update)
        case "mul": values[target] = multiply(values[target], update)
        case "max": values[target] = max(values[target], update)
        case "min": values[target] = min(values[target], update)
        default: throw call.error("reduction \(reduction) is not known.")
        }
      }
      return values
    }
    if x.type.isReal {
      let values = try reduced(x.reals(), updates.reals(), add: +, multiply: *)
      return .from(reals: values, x.type, x.shape)
    }
    let values = try reduced(x.integers(), updates.integers(), add: &+, multiply: &*)
    return .from(integers: values, x.type, x.shape)
  }

  @Sendable private static func scatterElements(_ call: Call) throws(ModelError) -> [Tensor?] {
    let (x, picks, updates) = (try call.input(0), try call.input(1), try call.input(2))
    let axis = try call.axis(call.int("axis", default: 0), in: x)
    let fits = zip(picks.shape, x.shape).enumerated().allSatisfy { place, sizes in
      place == axis || sizes.0 <= sizes.1
    }
    guard picks.shape == updates.shape, picks.shape.count == x.shape.count, fits else {
      throw call.error("indices \(picks.shape) and updates \(updates.shape) do not fit \(x.shape).")
    }
    let indices = try checkedIndices(picks, size: x.shape[axis], call)
    let own = strides(of: x.shape)
    var targets: [Int] = []
    forEachIndex(of: picks.shape) { index in
      var target = 0
      for place in index.indices {
        target += (place == axis ? indices[targets.count] : index[place]) * own[place]
      }
      targets.append(target)
    }
    return [try scattered(x, updates, targets, call)]
  }

  @Sendable private static func scatterND(_ call: Call) throws(ModelError) -> [Tensor?] {
    let (x, picks, updates) = (try call.input(0), try call.input(1), try call.input(2))
    guard let depth = picks.shape.last, depth <= x.shape.count,
      updates.shape == picks.shape.dropLast() + x.shape[depth...]
    else {
      throw call.error("indices \(picks.shape) and updates \(updates.shape) do not fit \(x.shape).")
    }
    let own = strides(of: x.shape)
    let block = Array(x.shape[depth...]).elementCount
    let numbers = picks.integers()
    var targets: [Int] = []
    for row in 0..<Array(picks.shape.dropLast()).elementCount {
      var start = 0
      for axis in 0..<depth {
        let number = numbers[row * depth + axis]
        let index = number < 0 ? number + Int128(x.shape[axis]) : number
        guard index >= 0, index < Int128(x.shape[axis]) else {
          throw call.error("index \(number) does not exist among \(x.shape[axis]).")
        }
        start += Int(index) * own[axis]
      }
      targets += start..<start + block
    }
    return [try scattered(x, updates, targets, call)]
  }

  /// Writes new rows into a cache, from another position for each sample.
  @Sendable private static func tensorScatter(_ call: Call) throws(ModelError) -> [Tensor?] {
    let (x, updates) = (try call.input(0), try call.input(1))
    let axis = try call.axis(call.int("axis", default: -2), in: x)
    let starts = call.optional(2)?.sizes()
    let circular = call.node.string("mode", default: "linear") == "circular"
    var expected = updates.shape
    guard expected.count == x.shape.count, expected[axis] <= x.shape[axis], axis > 0 else {
      throw call.error("updates \(updates.shape) do not fit \(x.shape).")
    }
    expected[axis] = x.shape[axis]
    guard expected == x.shape, starts?.count ?? x.shape[0] == x.shape[0] else {
      throw call.error("updates \(updates.shape) do not fit \(x.shape).")
    }
    let own = strides(of: x.shape)
    var (targets, outside) = ([Int](), false)
    forEachIndex(of: updates.shape) { index in
      var place = (starts?[index[0]] ?? 0) + index[axis]
      if circular { place %= x.shape[axis] }
      outside = outside || !(0..<x.shape[axis]).contains(place)
      targets.append(
        index.indices.reduce(0) { $0 + ($1 == axis ? place : index[$1]) * own[$1] })
    }
    guard !outside else { throw call.error("updates lie outside the cache.") }
    return [try scattered(x, updates, targets, call)]
  }
}
