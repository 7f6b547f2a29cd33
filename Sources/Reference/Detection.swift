import Models
import Vocabulary

extension Reference {
  /// Operators of detectors.
  static let detection: [String: Operator] = ["NonMaxSuppression": nonMaxSuppression]

  /// Keeps the best boxes of every class that do not overlap a better one too much.
  @Sendable private static func nonMaxSuppression(_ call: Call) throws(ModelError) -> [Tensor?] {
    let (boxes, scores) = (try call.input(0), try call.input(1))
    guard boxes.shape.count == 3, boxes.shape[2] == 4, scores.shape.count == 3,
      scores.shape[0] == boxes.shape[0], scores.shape[2] == boxes.shape[1]
    else { throw call.error("scores \(scores.shape) do not fit boxes \(boxes.shape).") }
    let most = Int(clamping: call.optional(2)?.integers().first ?? 0)
    let overlap = call.optional(3)?.reals().first ?? 0
    let threshold = call.optional(4)?.reals().first
    let centred = call.int("center_point_box", default: 0) != 0
    let (corners, values) = (boxes.reals(), scores.reals())
    let count = boxes.shape[1]
    let all = (0..<boxes.shape[0] * count).map { index in
      Box(Array(corners[index * 4..<index * 4 + 4]), centred: centred)
    }
    var picks: [Int128] = []
    for line in 0..<scores.shape[0] * scores.shape[1] {
      let (sample, label) = (line / scores.shape[1], line % scores.shape[1])
      func score(_ box: Int) -> Double { values[line * count + box] }
      let order = (0..<count)
        .filter { threshold == nil || score($0) > threshold ?? 0 }
        .sorted { score($0) == score($1) ? $0 < $1 : score($0) > score($1) }
      var kept: [Int] = []
      for box in order where kept.count < most {
        let candidate = all[sample * count + box]
        if kept.allSatisfy({ all[sample * count + $0].overlap(candidate) <= overlap }) {
          kept.append(box)
        }
      }
      for box in kept { picks += [Int128(sample), Int128(label), Int128(box)] }
    }
    return [.from(integers: picks, .int64, [picks.count / 3, 3])]
  }
}

/// A box with its sides along the axes.
private struct Box {
  private let low: (Double, Double)
  private let high: (Double, Double)

  /// Two opposite corners in any order, or a centre and sizes.
  init(_ numbers: [Double], centred: Bool) {
    if centred {
      let half = (numbers[2] / 2, numbers[3] / 2)
      low = (numbers[0] - half.0, numbers[1] - half.1)
      high = (numbers[0] + half.0, numbers[1] + half.1)
    } else {
      low = (min(numbers[0], numbers[2]), min(numbers[1], numbers[3]))
      high = (max(numbers[0], numbers[2]), max(numbers[1], numbers[3]))
    }
  }

  private var area: Double { (high.0 - low.0) * (high.1 - low.1) }

  /// Intersection over union.
  func overlap(_ other: Box) -> Double {
    let tall = max(0, min(high.0, other.high.0) - max(low.0, other.low.0))
    let wide = max(0, min(high.1, other.high.1) - max(low.1, other.low.1))
    let union = area + other.area - tall * wide
    return union <= 0 ? 0 : tall * wide / union
  }
}
