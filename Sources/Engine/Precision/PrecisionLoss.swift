/// How far the outputs of a model in a reduced precision are from those in FP32, measured at load.
///
/// As parts of the FP32 outputs: 0.01 is a hundredth.
public struct PrecisionLoss: Sendable, Equatable {
  /// The root mean square of the differences, over that of the outputs.
  public var rootMeanSquare: Double
  /// The largest difference, over the largest element of its output.
  public var largest: Double

  /// How far outputs are apart.
  public init(rootMeanSquare: Double, largest: Double) {
    self.rootMeanSquare = rootMeanSquare
    self.largest = largest
  }
}

extension PrecisionLoss: CustomStringConvertible {
  /// Both as percentages.
  public var description: String {
    "\(Self.percent(rootMeanSquare)) (root mean square), \(Self.percent(largest)) of the largest "
      + "output at most"
  }

  /// Two significant digits are what a few samples tell.
  private static func percent(_ part: Double) -> String {
    guard part.isFinite, part > 0 else { return "\(part * 100) %" }
    var scale = 1.0
    while part * 100 * scale < 10, scale < 1e12 { scale *= 10 }
    return "\((part * 100 * scale).rounded() / scale) %"
  }
}

/// A measured loss, kept beside the packed weights that it was measured with.
///
/// Text: a line with the key, then a line with both numbers, by a space.
enum PrecisionFile {
  /// What follows the name of the packed weights.
  static let suffix = ".precision"

  /// The loss, if it was kept under this key.
  static func read(_ path: String, key: String) -> PrecisionLoss? {
    guard let bytes = SmallFile.read(path, below: 1 << 16) else { return nil }
    let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n")
    guard lines.count == 2, lines[0] == Substring(name(of: key)) else { return nil }
    let numbers = lines[1].split(separator: " ").compactMap { Double($0) }
    guard numbers.count == 2 else { return nil }
    return PrecisionLoss(rootMeanSquare: numbers[0], largest: numbers[1])
  }

  /// Keeps a loss; that nobody finds it when it fails costs only time.
  static func write(_ loss: PrecisionLoss, _ path: String, key: String) {
    let text = "\(name(of: key))\n\(loss.rootMeanSquare) \(loss.largest)\n"
    SmallFile.replace(path, with: Array(text.utf8))
  }

  private static func name(of key: String) -> String { String(XXH64.hash(key), radix: 16) }
}
