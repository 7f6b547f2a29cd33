import Glibc
import Models
import Vocabulary

extension Reference {
  /// Fourier transforms and the windows before them.
  static let signals: [String: Operator] = [
    "DFT": fourier,
    "STFT": shortTimeFourier,
    "HannWindow": window { 0.5 - 0.5 * cos($0) },
    "HammingWindow": window { 25.0 / 46 - 21.0 / 46 * cos($0) },
    "BlackmanWindow": window { 0.42 - 0.5 * cos($0) + 0.08 * cos(2 * $0) },
    "MelWeightMatrix": melWeights,
  ]

  /// The discrete Fourier transform by its definition; the inverse is divided by the length.
  static func transform(_ line: [Complex], inverse: Bool) -> [Complex] {
    let length = line.count
    let turns = (0..<length).map { step -> Complex in
      let angle = (inverse ? 2 : -2) * Double.pi * Double(step) / Double(length)
      return Complex(cos(angle), sin(angle))
    }
    return line.indices.map { frequency in
      var sum = Complex(0, 0)
      for (time, value) in line.enumerated() { sum += value * turns[frequency * time % length] }
      return inverse ? Complex(sum.real / Double(length), sum.imaginary / Double(length)) : sum
    }
  }

  @Sendable private static func fourier(_ call: Call) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    let rank = x.shape.count
    let named =
      call.node.opset < 20
      ? call.int("axis", default: 1) : call.optional(2)?.sizes().first ?? -2
    let axis = try call.axis(named, rank: rank)
    let parts = x.shape[rank - 1]
    guard rank >= 2, axis < rank - 1, parts == 1 || parts == 2 else {
      throw call.error("\(x.shape) is no signal.")
    }
    let inverse = call.int("inverse", default: 0) != 0
    let half = call.int("onesided", default: 0) != 0
    let size = x.shape[axis]
    let natural = inverse && half ? 2 * (size - 1) : size
    let length = call.optional(1)?.sizes().first ?? natural
    guard length > 0 else { throw call.error("a transform of length \(length) does not exist.") }
    let kept = half && !inverse ? length / 2 + 1 : length
    let inner = Array(x.shape[(axis + 1)..<(rank - 1)]).elementCount
    let values = x.reals()
    var shape = x.shape
    shape[axis] = kept
    shape[rank - 1] = half && inverse ? 1 : 2
    shape = try call.sized(shape)
    var result = [Double](repeating: 0, count: shape.elementCount)
    for block in 0..<Array(x.shape[..<axis]).elementCount {
      for offset in 0..<inner {
        func read(_ place: Int) -> Complex {
          guard place < size else { return Complex(0, 0) }
          let start = ((block * size + place) * inner + offset) * parts
          return Complex(values[start], parts == 2 ? values[start + 1] : 0)
        }
        let line = (0..<length).map { place in
          // The other half of a real signal's spectrum is the mirror image of the first.
          half && inverse && place > length / 2 ? read(length - place).conjugate : read(place)
        }
        for (place, value) in transform(line, inverse: inverse).prefix(kept).enumerated() {
          let target = ((block * kept + place) * inner + offset) * shape[rank - 1]
          result[target] = value.real
          if shape[rank - 1] == 2 { result[target + 1] = value.imaginary }
        }
      }
    }
    return [.from(reals: result, x.type, shape)]
  }

  @Sendable private static func shortTimeFourier(_ call: Call) throws(ModelError) -> [Tensor?] {
    let x = try call.input(0)
    let step = try call.input(1).sizes().first ?? 0
    let window = call.optional(2)?.reals()
    let parts = x.shape.count == 3 ? x.shape[2] : 1
    guard x.shape.count >= 2, (1...2).contains(parts), step > 0 else {
      throw call.error("\(x.shape) is no signal that can be cut every \(step) samples.")
    }
    let size = x.shape[1]
    let length = call.optional(3)?.sizes().first ?? window?.count ?? size
    guard length > 0, length <= size, window?.count ?? length == length else {
      throw call.error("frames of \(length) do not fit a signal of \(size).")
    }
    let frames = 1 + (size - length) / step
    let kept = call.int("onesided", default: 1) != 0 ? length / 2 + 1 : length
    let values = x.reals()
    var result: [Double] = []
    for frame in 0..<x.shape[0] * frames {
      let start = frame / frames * size + frame % frames * step
      let line = (0..<length).map { place -> Complex in
        let (source, weight) = ((start + place) * parts, window?[place] ?? 1)
        return Complex(values[source] * weight, parts == 2 ? values[source + 1] * weight : 0)
      }
      for value in transform(line, inverse: false).prefix(kept) {
        result += [value.real, value.imaginary]
      }
    }
    return [.from(reals: result, x.type, [x.shape[0], frames, kept, 2])]
  }

  /// A window as a function of the angle, which goes once around.
  private static func window(_ function: @escaping @Sendable (Double) -> Double) -> Operator {
    { (call) throws(ModelError) in
      let size = try call.input(0).sizes().first ?? 0
      guard size >= 0, size <= Limits.computedElements else {
        throw call.error("a window of \(size) cannot be made.")
      }
      let periodic = call.int("periodic", default: 1) != 0
      let type = try castTarget(call, "output_datatype", fallback: .float32)
      let length = Double(periodic ? size : size - 1)
      let values = (0..<size).map { function(2 * Double.pi * Double($0) / max(length, 1)) }
      return [.from(reals: values, type, [size])]
    }
  }

  /// Triangles over the bins of a spectrum, evenly spaced on the mel scale.
  @Sendable private static func melWeights(_ call: Call) throws(ModelError) -> [Tensor?] {
    var numbers: [Double] = []
    for index in 0..<5 { numbers.append(try call.input(index).reals().first ?? 0) }
    let (bands, length, rate) = (whole(numbers[0]), whole(numbers[1]), numbers[2])
    guard bands > 0, length > 0, rate > 0, bands <= 1 << 16, length <= 1 << 24 else {
      throw call.error("\(bands) bands of \(length) bins cannot be made.")
    }
    func mel(_ hertz: Double) -> Double { 2595 * log1p(hertz / 700) / log(10) }
    let low = mel(numbers[3])
    let step = (mel(numbers[4]) - low) / Double(bands + 2)
    let edges = (0..<bands + 2).map { edge -> Int in
      let hertz = 700 * expm1((Double(edge) * step + low) / 2595 * log(10))
      return whole((Double(length + 1) * hertz / rate).rounded(.down))
    }
    let bins = length / 2 + 1
    _ = try call.sized([bins, bands])
    var result = [Double](repeating: 0, count: bins * bands)
    for band in 0..<bands {
      let (left, centre, right) = (edges[band], edges[band + 1], edges[band + 2])
      let first = min(max(left, 0), bins)
      for bin in first..<max(first, min(bins, max(right, centre + 1))) {
        if bin < centre || (bin == centre && right <= centre) {
          result[bin * bands + band] =
            centre == left ? 1 : Double(bin - left) / Double(centre - left)
        } else if right > centre {
          result[bin * bands + band] = Double(right - bin) / Double(right - centre)
        }
      }
    }
    let type = try castTarget(call, "output_datatype", fallback: .float32)
    return [.from(reals: result, type, [bins, bands])]
  }
}

/// A complex number.
struct Complex {
  var real: Double
  var imaginary: Double

  init(_ real: Double, _ imaginary: Double) {
    self.real = real
    self.imaginary = imaginary
  }

  var conjugate: Complex { Complex(real, -imaginary) }

  static func * (a: Complex, b: Complex) -> Complex {
    Complex(
      a.real * b.real - a.imaginary * b.imaginary, a.real * b.imaginary + a.imaginary * b.real)
  }

  static func += (a: inout Complex, b: Complex) {
    a = Complex(a.real + b.real, a.imaginary + b.imaginary)
  }
}
